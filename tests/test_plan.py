"""Plans are values: valid, canonical, with one identity, and read back without trust."""

from __future__ import annotations

import copy
import json
import pickle
from itertools import product
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isoshare.space.choices.partitions import count_partitions
from isoshare.space.errors import PlanError
from isoshare.space.natural_order import natural_order
from isoshare.space.plan import Bank, PlanFile, SharingPlan

SCHEMA_FILE = Path(__file__).parent.parent / "space" / "plan.schema.json"


def plan_of_labels(labels: tuple[int, ...]) -> SharingPlan:
    """One bank for each label: site i is in the bank of its label."""
    blocks: dict[int, list[str]] = {}
    for site, label in enumerate(labels):
        blocks.setdefault(label, []).append(f"conv{site}")
    return SharingPlan(tuple(Bank("kernel", {}, tuple(block)) for block in blocks.values()))


@pytest.mark.parametrize("size", range(1, 7))
def test_labellings_have_one_fingerprint_for_each_partition(size: int) -> None:
    """Brute force: two labellings share a fingerprint exactly if they are the same partition."""
    partition_of: dict[str, frozenset[frozenset[int]]] = {}
    for labels in product(range(size), repeat=size):
        partition = frozenset(
            frozenset(site for site in range(size) if labels[site] == label) for label in labels
        )
        fingerprint = plan_of_labels(labels).fingerprint
        assert partition_of.setdefault(fingerprint, partition) == partition
    assert len(partition_of) == count_partitions(size, range(2, size + 1))
    assert len(set(partition_of.values())) == count_partitions(size, range(2, size + 1))


banks = st.lists(
    st.lists(st.sampled_from([f"s.{n}.conv" for n in range(12)]), min_size=1, unique=True),
    max_size=4,
)


@given(banks, st.randoms())
def test_order_of_writing_does_not_matter(blocks: list[list[str]], rng: Any) -> None:
    seen: set[str] = set()
    disjoint = []
    for block in blocks:
        if rest := [name for name in block if name not in seen]:
            disjoint.append(rest)
            seen.update(rest)
    plan = SharingPlan(tuple(Bank("kernel", {}, tuple(block)) for block in disjoint))
    for block in disjoint:
        rng.shuffle(block)
    rng.shuffle(disjoint)
    shuffled = SharingPlan(tuple(Bank("kernel", {}, tuple(block)) for block in disjoint))
    assert shuffled == plan
    assert hash(shuffled) == hash(plan)
    assert shuffled.fingerprint == plan.fingerprint
    assert PlanFile.parse(PlanFile.of(plan).text).plan == plan


def test_a_bank_of_one_kernel_site_is_no_bank() -> None:
    assert SharingPlan((Bank("kernel", {}, ("a",)),)) == SharingPlan()


def test_the_fingerprint_is_stable_across_releases() -> None:
    """Databases and plan files hold fingerprints: changing them needs a migration."""
    plan = SharingPlan((Bank("kernel", {}, ("b", "a")),))
    assert plan.fingerprint == "02f187aa8b5cc4a4"


def test_natural_order_counts() -> None:
    names = ["s.10", "s.2", "s.2.a", "a", "s.02"]
    assert sorted(names, key=natural_order) == ["a", "s.02", "s.2", "s.2.a", "s.10"]


def test_plans_survive_pickle_and_deepcopy() -> None:
    plan = SharingPlan((Bank("kernel", {}, ("a", "b")),))
    assert pickle.loads(pickle.dumps(plan)) == plan
    assert copy.deepcopy(plan) == plan


def test_a_printed_plan_can_be_pasted() -> None:
    plan = SharingPlan(
        (Bank("kernel", {}, ("b", "a")), Bank("low_rank", {"rank": 2}, ("c", "d"))),
        variant=(("width", 8),),
    )
    assert eval(repr(plan)) == plan
    assert repr(SharingPlan()) == "SharingPlan(())"


def test_plans_are_immutable() -> None:
    bank = Bank("kernel", {}, ("a", "b"))
    with pytest.raises(TypeError):
        bank.options["x"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Bank("magic", {}, ("a", "b")), "unknown method 'magic': choose one of anchored, "),
        (lambda: Bank("kernel", {"rank": 1}, ("a", "b")), "rank"),
        (lambda: Bank("kernel", {}, ()), "at least one site"),
        (lambda: Bank("kernel", {}, "ab"), "tuple of names"),  # type: ignore[arg-type]
        (lambda: Bank("kernel", {}, ("a", "a")), "'a' is there twice"),
        (
            lambda: SharingPlan((Bank("kernel", {}, ("a", "b")), Bank("kernel", {}, ("b", "c")))),
            "'b' is in two",
        ),
    ],
)
def test_wrong_plans_are_refused_with_the_value(make: Any, says: str) -> None:
    with pytest.raises(PlanError, match=says):
        make()


GOOD = {
    "schema": "isoshare.plan/1",
    "backbone": {"name": "resnet_cifar", "arguments": {"depth": 8}},
    "banks": [{"method": "kernel", "options": {}, "sites": ["a", "b"]}],
}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"schema": "isoshare.plan/2"}, "schema"),
        ({"schema": None}, "schema"),
        ({"banks": None}, "banks: "),
        ({"banks": [{"method": "kernel", "options": {}}]}, r"banks.0.sites: field required"),
        ({"banks": [{"method": "kernel", "options": {}, "sites": []}]}, "banks.0.sites"),
        ({"banks": [{"method": "kernel", "options": {}, "sites": [1]}]}, "banks.0.sites.0"),
        ({"banks": [{"method": "x", "options": {}, "sites": ["a"]}]}, "unknown method 'x'"),
        ({"extra": 1}, "extra"),
        ({"measured": [{"objective": "accuracy"}]}, "measured.0"),
    ],
)
def test_wrong_files_are_refused_with_field_and_file(
    tmp_path: Path, change: dict[str, Any], says: str
) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(PlanError, match=says) as caught:
        SharingPlan.load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("field", ["schema", "banks"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({key: value for key, value in GOOD.items() if key != field}))
    with pytest.raises(PlanError, match=f"{field}: field required"):
        SharingPlan.load(path)


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", "[" * 100_000, '{"a": NaN}', "\xff\x00"])
def test_what_is_not_a_plan_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PlanError):
        SharingPlan.load(path)


def test_a_field_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(GOOD)[:-1] + ', "banks": []}')
    with pytest.raises(PlanError, match="field 'banks' is there twice; remove one"):
        SharingPlan.load(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot read the plan file"):
        SharingPlan.load(tmp_path / "none.json")


def test_files_keep_the_order_of_the_module(tmp_path: Path) -> None:
    plan = SharingPlan((Bank("kernel", {}, ("a", "b")), Bank("kernel", {}, ("c", "d"))))
    file = PlanFile.of(plan, order=["d", "c", "b", "a"])
    assert [bank.sites for bank in file.banks] == [["d", "c"], ["b", "a"]]
    file.save(tmp_path / "plan.json")
    assert SharingPlan.load(tmp_path / "plan.json") == plan


def test_saving_leaves_no_half_written_file(tmp_path: Path) -> None:
    SharingPlan().save(tmp_path / "plan.json")
    assert [path.name for path in tmp_path.iterdir()] == ["plan.json"]


def test_the_schema_file_is_that_of_the_reader() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    assert schema == PlanFile.model_json_schema(by_alias=True)


def test_the_schema_accepts_what_is_written_and_refuses_the_rest() -> None:
    schema = json.loads(SCHEMA_FILE.read_text())
    plan = SharingPlan((Bank("kernel", {}, ("a", "b")),))
    jsonschema.validate(json.loads(PlanFile.of(plan).text), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": "isoshare.plan/1"}, schema)
