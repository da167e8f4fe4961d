// The form for new jobs: what it asks for, and what it makes of it.

import { ask } from "./api.js";
import { byId, showProblem } from "./dom.js";

const TASKS = {
  fetch: { words: "Fetch artifact", job: ({ uri }) => ["fetch-artifact", { uri }] },
  browse: { words: "List artifacts", job: ({ uri }) => ["list-artifacts", { uri }] },
  pipeline: { words: "Start pipeline", job: pipelineJob },
};

/** Make the form work; `submit(kind, parameters)` submits to the chosen agent. */
export function prepareForm(submit) {
  const form = byId("new-job");
  const button = form.querySelector("button[type=submit]");
  form.addEventListener("change", () => showTask(form, button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    const problem = byId("new-problem");
    showProblem(problem, null);
    try {
      await submit(...TASKS[form.task.value].job(Object.fromEntries(new FormData(form))));
    } catch (error) {
      showProblem(problem, error.message);
    } finally {
      button.disabled = false;
    }
  });
  showTask(form, button);
}

/** Submit a job to the agent chosen in the form, and return its id. */
export async function submitJob(kind, parameters) {
  const agent = byId("new-job").agent.value;
  if (!agent) throw new Error("There is no agent to do it yet.");
  const { id } = await ask("POST", "jobs", { agent, kind, parameters });
  return id;
}

function showTask(form, button) {
  const task = form.task.value;
  for (const field of form.querySelectorAll("[data-task]")) {
    const wanted = field.dataset.task.split(" ").includes(task);
    field.hidden = !wanted;
    field.querySelector("input, textarea").disabled = !wanted;
  }
  button.textContent = TASKS[task].words;
}

function pipelineJob({ pipeline, parameters }) {
  return ["trigger-pipeline", { pipeline, parameters: parametersOf(parameters), wait: true }];
}

function parametersOf(text) {
  if (!text.trim()) return {};
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Error('The parameters are not JSON. Write them like {"epochs": 3}.');
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Error('The parameters are a JSON object, like {"epochs": 3}.');
  }
  return value;
}
