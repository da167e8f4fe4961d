"""The metrics of the agent: names and labels are promises, label values come from fixed sets.

Nothing else belongs here. A URI, a job id or an error text never becomes a label.
"""

from prometheus_client import Counter, Gauge, Histogram

_LATENCY = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_DURATION = (0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200, 43200)

build_info = Gauge(
    "cloud_agent_build_info", "Always 1; the labels say which build", ["version", "python"]
)
link_up = Gauge("cloud_agent_link_up", "1 while the control plane has welcomed this instance")
link_connects = Counter(
    "cloud_agent_link_connects", "Attempts to connect, by how they ended", ["outcome"]
)
link_round_trip = Histogram(
    "cloud_agent_link_round_trip_seconds", "Ping to pong through both programs", buckets=_LATENCY
)
link_bytes = Counter("cloud_agent_link_bytes", "Bytes over the link", ["direction"])
session_unacked_bytes = Gauge("cloud_agent_session_unacked_bytes", "Sent and not yet acknowledged")
jobs = Counter("cloud_agent_jobs", "Jobs that ended", ["kind", "outcome", "reason"])
jobs_running = Gauge("cloud_agent_jobs_running", "Jobs at work now", ["kind"])
job_duration = Histogram(
    "cloud_agent_job_duration_seconds", "From acceptance to outcome", ["kind"], buckets=_DURATION
)
artifact_bytes = Counter(
    "cloud_agent_artifact_bytes", "Bytes read from artifact stores", ["store_type"]
)
credential_resolutions = Counter(
    "cloud_agent_credential_resolutions", "Reads of a secret store", ["store_type", "outcome"]
)
credential_expiry = Gauge(
    "cloud_agent_credential_expiry_seconds",
    "Seconds until the cached credential expires",
    ["connector"],
)
policy_decisions = Counter(
    "cloud_agent_policy_decisions", "Decisions of the policy", ["kind", "decision"]
)
redactions = Counter(
    "cloud_agent_redactions", "Texts that held a secret, by the exit they stood at", ["exit"]
)
journal_records = Gauge("cloud_agent_journal_records", "Jobs in the journal", ["state"])
loop_lag = Gauge("cloud_agent_loop_lag_seconds", "How late the event loop was at its last beat")
draining = Gauge("cloud_agent_draining", "1 while the agent takes no new jobs")
config_reloads = Counter(
    "cloud_agent_config_reloads", "Readings of a changed configuration", ["outcome"]
)

link_received = link_bytes.labels("received")
link_sent = link_bytes.labels("sent")
