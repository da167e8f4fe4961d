import time

import pytest

from agent.artifact_uri import ArtifactUri
from agent.config import settings
from agent.errors import UsageError
from agent.guard.open import open_policy
from agent.guard.patterns import compile_name, compile_pattern
from agent.guard.policy import Decision, Policy, PolicyRequest


def _policy(*rules: dict[str, object]) -> Policy:
    return open_policy(settings.Policy.model_validate({"rules": list(rules)}))


def _fetch(uri: str, kind: str = "fetch-artifact") -> PolicyRequest:
    return PolicyRequest(kind, artifact=ArtifactUri.parse(uri))


def _matches(pattern: str, uri: str) -> bool:
    return compile_pattern(pattern).matches(ArtifactUri.parse(uri))


PROD = {"allow": ["fetch-artifact", "list-artifacts"], "artifacts": ["s3://ml/prod/**"]}


class TestDecide:
    def test_nothing_is_allowed_by_default(self) -> None:
        decision = _policy().decide(_fetch("s3://ml/prod/x"))

        assert decision == Decision(allowed=False, rule=None, why="no rule allows it")

    def test_an_allow_names_itself_and_its_limit(self) -> None:
        decision = _policy({**PROD, "max_bytes": "5GiB"}).decide(_fetch("s3://ml/prod/x"))

        assert decision == Decision(True, 0, "policy.rules[0] allows it", 5 * 2**30)

    def test_the_first_matching_allow_decides(self) -> None:
        wide = {"allow": "*", "max_bytes": 7}

        assert _policy(PROD, wide).decide(_fetch("s3://ml/prod/x")).max_bytes is None
        assert _policy(wide, PROD).decide(_fetch("s3://ml/prod/x")).max_bytes == 7

    @pytest.mark.parametrize("first", [True, False])
    def test_a_deny_wins_wherever_it_stands(self, first: bool) -> None:
        deny = {"deny": "*", "artifacts": ["**/pii/**"]}
        rules = [deny, PROD] if first else [PROD, deny]

        decision = _policy(*rules).decide(_fetch("s3://ml/prod/pii/x"))

        assert (decision.allowed, decision.rule) == (False, 0 if first else 1)

    def test_another_kind_is_not_allowed(self) -> None:
        assert not _policy(PROD).decide(_fetch("s3://ml/prod/x", "visualize-artifact")).allowed

    @pytest.mark.parametrize("kinds", ["*", ["*"]])
    def test_a_star_is_every_kind(self, kinds: object) -> None:
        assert _policy({"allow": kinds}).decide(PolicyRequest("new-kind")).allowed
        assert not _policy({"allow": "*"}, {"deny": kinds}).decide(PolicyRequest("x")).allowed

    def test_all_parts_of_a_rule_have_to_match(self) -> None:
        policy = _policy({**PROD, "connectors": ["ml-*"]})
        uri = ArtifactUri.parse("s3://ml/prod/x")

        decisions = [
            policy.decide(
                PolicyRequest("fetch-artifact", artifact=uri, connector=connector)
            ).allowed
            for connector in ("ml-s3", "hr-s3", None)
        ]

        assert decisions == [True, False, False]

    def test_pipelines_match_by_name(self) -> None:
        policy = _policy({"allow": ["trigger-pipeline"], "pipelines": ["train-*"]})

        decisions = {
            name: policy.decide(PolicyRequest("trigger-pipeline", pipeline=name)).allowed
            for name in ("train-churn", "train-", "train", "retrain-x", "TRAIN-x", "train-x/../y")
        }

        assert [name for name, allowed in decisions.items() if allowed] == ["train-churn", "train-"]

    @pytest.mark.parametrize("key", ["artifacts", "pipelines", "connectors"])
    def test_a_rule_about_a_thing_does_not_speak_of_requests_without_one(self, key: str) -> None:
        """Neither an allow nor a deny does."""
        request = PolicyRequest("check-connector")

        assert (
            not _policy({"allow": "*", key: ["**" if key == "artifacts" else "*"]})
            .decide(request)
            .allowed
        )
        assert _policy({"allow": "*"}, {"deny": "*", key: ["x"]}).decide(request).allowed

    def test_an_empty_list_matches_nothing(self) -> None:
        assert not _policy({"allow": "*", "artifacts": []}).decide(_fetch("s3://ml/x")).allowed

    def test_a_listing_of_a_parent_hides_denied_entries(self) -> None:
        """The parent may be listed; each entry is asked for by itself, prefixes included."""
        policy = _policy(PROD, {"deny": "*", "artifacts": ["**/pii/**"]})
        asked = ["s3://ml/prod", "s3://ml/prod/a", "s3://ml/prod/pii", "s3://ml/prod/a/pii/x"]

        allowed = [uri for uri in asked if policy.decide(_fetch(uri, "list-artifacts")).allowed]

        assert allowed == ["s3://ml/prod", "s3://ml/prod/a"]

    def test_the_order_of_rules_holds_wherever_their_patterns_begin(self) -> None:
        """Rules are looked up by how their patterns begin, which must not change the answer."""
        patterns = [
            "s3://ml/prod/a/**",
            "**",
            "s3://**",
            "s3://ml/**",
            "s3://ml/*/a",
            "s3://ml/prod/**",
        ]
        request = _fetch("s3://ml/prod/a")

        for n in range(len(patterns)):
            order = patterns[n:] + patterns[:n]
            rules = [
                {"allow": "*", "artifacts": [p, "s3://x"], "max_bytes": i + 1}
                for i, p in enumerate(order)
            ]
            assert _policy(*rules).decide(request).max_bytes == 1

    def test_the_last_of_a_thousand_rules_is_found_soon(self) -> None:
        rules = [{"allow": "*", "artifacts": [f"s3://ml/team-{n}/**"]} for n in range(1000)]
        policy = _policy(*rules)
        request = _fetch("s3://ml/team-999/model/v1")

        started = time.process_time()
        decisions = [policy.decide(request) for _ in range(1000)]
        lasted = time.process_time() - started

        assert {decision.rule for decision in decisions} == {999}
        assert lasted < 0.5


class TestConfusedDeputy:
    @pytest.mark.parametrize(
        "uri",
        [
            "s3://ml/production/x",
            "s3://ml/prod-other-tenant/secret",
            "s3://ml/prod.bak",
            "s3://ml/Prod/x",
            "s3://ML/prod/x",
            "s3://ml2/prod/x",
            "s3://ml",
            "s3://ml/x/prod/y",
            "gs://ml/prod/x",
            "file:///ml/prod/x",
            "s3://ml/prod%2fx",
            "s3://ml%2fprod/x",
            "s3://ml/%70rod/x",
            "s3://ml/pr\u043ed/x",
            "s3://ml/prod\u200b/x",
            "s3://ml/\uff50\uff52\uff4f\uff44/x",
        ],
    )
    def test_what_only_looks_like_it_is_not_granted(self, uri: str) -> None:
        assert not _policy(PROD).decide(_fetch(uri)).allowed

    @pytest.mark.parametrize(
        "uri", ["s3://ml/prod/../payroll/x", "s3://ml/prod//x", "s3://ml/./prod"]
    )
    def test_dots_never_get_as_far_as_the_policy(self, uri: str) -> None:
        with pytest.raises(ValueError, match="segments"):
            _fetch(uri)

    def test_the_scheme_alone_is_read_in_any_case(self) -> None:
        assert _policy(PROD).decide(_fetch("S3://ml/prod/x")).allowed


class TestPatterns:
    @pytest.mark.parametrize(
        ("pattern", "uri"),
        [
            ("s3://ml/prod/**", "s3://ml/prod"),
            ("s3://ml/prod/**", "s3://ml/prod/a/b/c"),
            ("s3://ml/prod/", "s3://ml/prod"),
            ("s3://ml/*/model", "s3://ml/x/model"),
            ("s3://ml/v?/model.*", "s3://ml/v1/model.bin"),
            ("s3://*/x", "s3://any/x"),
            ("s3://**", "s3://any/thing/at/all"),
            ("S3://ml/x", "s3://ml/x"),
            ("s3://ml/**/model/**/x", "s3://ml/model/a/model/b/x"),
            ("s3://ml/**/a/b", "s3://ml/a/a/b/a/b"),
            ("s3://ml/**/**/x", "s3://ml/x"),
            ("s3://ml/a*b*c", "s3://ml/a-b-b-c-c"),
            ("s3://ml/a[b]{c}.$^+(", "s3://ml/a[b]{c}.$^+("),
            ("file:///srv/**", "file:///srv/a"),
            ("file:///**", "file:///a"),
            ("**", "gs://x/y"),
            ("**/pii/**", "s3://pii"),
            ("**/pii/**", "s3://ml/pii"),
            ("**/pii/**", "file:///pii/x"),
            ("ml/prod", "gs://ml/prod"),
        ],
    )
    def test_it_matches(self, pattern: str, uri: str) -> None:
        assert _matches(pattern, uri)

    @pytest.mark.parametrize(
        ("pattern", "uri"),
        [
            ("s3://ml/*", "s3://ml"),
            ("s3://ml/*", "s3://ml/a/b"),
            ("s3://ml/v?", "s3://ml/v"),
            ("s3://ml/a?b", "s3://ml/a/b"),
            ("s3://ml/a*b", "s3://ml/a/b"),
            ("s3://ml/**/x", "s3://ml/yx"),
            ("s3://ml/**/x/**/y", "s3://ml/xx/y"),
            ("s3://ml/**/ab*/**/c", "s3://ml/a/c"),
            ("s3://ml/a.b", "s3://ml/aXb"),
            ("**/pii/**", "s3://ml/mypii/x"),
            ("ml/prod", "s3://x/ml/prod"),
        ],
    )
    def test_it_does_not_match(self, pattern: str, uri: str) -> None:
        assert not _matches(pattern, uri)

    @pytest.mark.parametrize(
        "pattern",
        [
            "**/**/**/x*x*x*y",
            "/".join(["**", "x*"] * 300) + "/y",
            "**/" + "*x" * 1000 + "/y",
            "*a" * 2000,
        ],
    )
    @pytest.mark.parametrize(
        "uri", ["s3://b/" + "x" * 4000, "s3://b" + "/x" * 2000, "s3://b" + "/xx" * 1300]
    )
    def test_no_pattern_takes_long(self, pattern: str, uri: str) -> None:
        compiled = compile_pattern(pattern)

        started = time.process_time()
        compiled.matches(ArtifactUri.parse(uri))

        assert time.process_time() - started < 0.5

    @pytest.mark.parametrize(
        "pattern",
        ["", "/", "s3://", "s3://ml//x", "s3://ml/../x", "s3://ml/./x", "s3://ml/a**", "s3://ml/***",
         "*://ml/x", "s3+x://ml", "file://srv/**", "/srv/**", "a\\b", "a\nb", "x" * 5000],
    )  # fmt: skip
    def test_a_pattern_that_cannot_be_meant_is_refused(self, pattern: str) -> None:
        with pytest.raises(ValueError):
            compile_pattern(pattern)

    @pytest.mark.parametrize("name", ["", "a/b", "**", "a**b", ".."])
    def test_a_name_is_one_segment(self, name: str) -> None:
        with pytest.raises(ValueError):
            compile_name(name)

    def test_wrong_patterns_are_all_named_at_start(self) -> None:
        with pytest.raises(UsageError) as raised:
            _policy(
                PROD, {"allow": "*", "artifacts": ["s3://ok", "s3://a//b"], "pipelines": ["a/b"]}
            )

        assert [line.partition(": ")[0] for line in str(raised.value).splitlines()] == [
            "policy.rules[1].artifacts[1]",
            "policy.rules[1].pipelines[0]",
        ]
