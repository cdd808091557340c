from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpu_catalog.boards import Board, load_catalog
from gpu_catalog.layouts import (
    GpuSlot,
    LayoutError,
    MigPartedEntry,
    MigPartedFile,
    builtin_mig_parted,
    parse_mig_parted,
)

from .nodes import A100, H100, RTX_PRO_6000, T4

BUILTIN = builtin_mig_parted()
CATALOG = load_catalog()
# Profiles of early GB200 boards, whose memory was reported otherwise; no board of the catalogue has them.
EARLY_GB200 = {"all-3g.95gb", "all-4g.95gb", "all-7g.189gb"}
# Its profiles have the names of the RTX PRO 6000's, but are halves of the board, not quarters; it has no layouts.
NO_LAYOUTS = {"rtx-pro-5000-blackwell"}


def slots(board: Board, count: int = 8) -> list[GpuSlot]:
    return [GpuSlot(index, board, board.pci_device_ids[0]) for index in range(count)]


def boards_of(entry: MigPartedEntry) -> list[Board]:
    """The boards an entry is for: those it selects and that have all its profiles."""
    wanted = {profile for profile, _ in entry.mig_devices}
    return [
        board
        for board in CATALOG.mig_boards()
        if board.key not in NO_LAYOUTS
        and wanted <= {profile.name for profile in board.profiles}
        and any(entry.selects(GpuSlot(0, board, pci_id)) for pci_id in board.pci_device_ids)
    ]


@pytest.mark.parametrize("name", BUILTIN.configs)
def test_every_builtin_layout_resolves_on_the_boards_it_is_for(name: str) -> None:
    for entry in BUILTIN.configs[name]:
        boards = boards_of(entry)
        assert bool(boards) == (name not in EARLY_GB200)
        for board in boards:
            layouts = BUILTIN.resolve(name, slots(board))
            assert [layout.index for layout in layouts] == list(range(8))
            for layout in layouts:
                assert layout.mig_enabled is entry.mig_enabled
                placed = [placement.profile.name for placement in layout.placements]
                assert {profile: placed.count(profile) for profile in placed} == dict(entry.mig_devices)


def test_the_builtin_names_are_all_there() -> None:
    assert len(BUILTIN.configs) == 81
    assert {"all-disabled", "all-enabled", "all-balanced", "all-1g.5gb", "all-1g.5gb.me"} <= BUILTIN.configs.keys()


def test_all_balanced_makes_32_slices_of_eight_a100s() -> None:
    layouts = BUILTIN.resolve("all-balanced", slots(A100))

    assert sum(len(layout.placements) for layout in layouts) == 32
    for layout in layouts:
        assert layout.mig_enabled
        assert [(each.profile.name, each.start) for each in layout.placements] == [
            ("1g.5gb", 0),
            ("1g.5gb", 1),
            ("2g.10gb", 2),
            ("3g.20gb", 4),
        ]


@pytest.mark.parametrize(
    ("board", "counts"),
    [
        (A100, {"1g.5gb": 2, "2g.10gb": 1, "3g.20gb": 1}),
        (H100, {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1}),
        (RTX_PRO_6000, {"1g.24gb": 2, "2g.48gb": 1}),
        (CATALOG.board("h200-nvl"), {"1g.18gb": 2, "2g.35gb": 1, "3g.71gb": 1}),
        (CATALOG.board("b300-sxm6-ac"), {"1g.34gb": 2, "2g.67gb": 1, "3g.135gb": 1}),
    ],
)
def test_all_balanced_goes_by_the_pci_id(board: Board, counts: dict[str, int]) -> None:
    (layout,) = BUILTIN.resolve("all-balanced", slots(board, 1))

    placed = [placement.profile.name for placement in layout.placements]
    assert {name: placed.count(name) for name in placed} == counts


def test_one_name_means_another_count_on_another_board() -> None:
    by_board = {board.key: len(BUILTIN.resolve("all-1g.10gb", slots(board, 1))[0].placements) for board in (A100, H100)}

    assert by_board == {"a100-sxm4-40gb": 4, "h100-80gb-hbm3": 7}


def test_a_gpu_that_no_entry_selects_is_left_alone() -> None:
    mixed = [GpuSlot(0, T4, "0x1EB810DE"), GpuSlot(1, A100, "0x20b010de")]

    assert [layout.index for layout in BUILTIN.resolve("all-balanced", mixed)] == [1]


def test_disabled_and_enabled_make_no_slices() -> None:
    disabled = BUILTIN.resolve("all-disabled", slots(A100, 2))
    enabled = BUILTIN.resolve("all-enabled", slots(A100, 2))

    assert [(layout.mig_enabled, layout.placements) for layout in [*disabled, *enabled]] == [
        *[(False, ())] * 2,
        *[(True, ())] * 2,
    ]
    assert BUILTIN.resolve("all-disabled", slots(T4, 1))[0].mig_enabled is False


def layout_file(*entries: str) -> MigPartedFile:
    return parse_mig_parted("version: v1\nmig-configs:\n  mine:\n" + "".join(f"  - {entry}\n" for entry in entries))


@pytest.mark.parametrize(
    ("file", "name", "board", "problems"),
    [
        (
            BUILTIN,
            "all-balance",
            A100,
            ["unknown MIG layout 'all-balance', nearest: all-balanced, all-disabled"],
        ),
        (
            layout_file("{devices: all, mig-enabled: false}"),
            "yours",
            A100,
            ["unknown MIG layout 'yours'; the layouts are mine"],
        ),
        (
            layout_file("{devices: all, mig-enabled: true, mig-devices: {4g.20gb: 2}}"),
            "mine",
            A100,
            [
                (
                    "MIG layout mine: GPUs 0-7: 4g.20gb + 4g.20gb do not fit one A100-SXM4-40GB: "
                    "4g.20gb needs units 0-3, which the first 4g.20gb takes"
                )
            ],
        ),
        (
            layout_file("{devices: all, mig-enabled: true}"),
            "mine",
            T4,
            [
                (
                    "MIG layout mine: GPUs 0-7: Tesla T4 has no MIG; "
                    "leave it out with device-filter or set mig-enabled: false"
                )
            ],
        ),
        (
            layout_file(
                "{devices: [0, 1, 2], mig-enabled: false}",
                '{device-filter: "0x20B010DE", devices: [2, 0, 9], mig-enabled: true}',
            ),
            "mine",
            A100,
            [
                "MIG layout mine: entry 2 names GPU 9, this node has GPUs 0-7",
                "MIG layout mine: GPUs 0, 2: entries 1 and 2 both select it; give each GPU one entry",
            ],
        ),
        (
            layout_file(
                "{devices: [0], mig-enabled: true, mig-devices: {1g.6gb: 1}}",
                "{devices: [1], mig-enabled: true, mig-devices: {7g.40gb: 2}}",
            ),
            "mine",
            A100,
            [
                (
                    "MIG layout mine: GPU 0: A100-SXM4-40GB has no MIG profile '1g.6gb', "
                    "nearest: 1g.5gb, 1g.10gb, 1g.5gb+me; it has 1g.5gb, 1g.5gb+me, 1g.10gb, 2g.10gb, 3g.20gb, "
                    "4g.20gb, 7g.40gb"
                ),
                (
                    "MIG layout mine: GPU 1: 7g.40gb + 7g.40gb do not fit one A100-SXM4-40GB: "
                    "7g.40gb needs units 0-7, which the first 7g.40gb takes"
                ),
            ],
        ),
    ],
)
def test_a_layout_that_cannot_be_had_tells_every_problem(
    file: MigPartedFile, name: str, board: Board, problems: list[str]
) -> None:
    with pytest.raises(LayoutError) as refused:
        file.resolve(name, slots(board))

    assert list(refused.value.problems) == problems


ENTRY = "version: v1\nmig-configs:\n  mine:\n  - {%s}\n"
GOOD = "devices: all, mig-enabled: true"


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["the file: must be a mapping with version, mig-configs"]),
        ("mig-configs: {}", ["version: is None, must be v1"]),
        ("version: v2\nmig-configs: {}", ["version: is 'v2', must be v1"]),
        ("version: v1", ["mig-configs: must be a mapping of layout names to lists of entries"]),
        ("version: v1\nmig-configs: {mine: {}}", ["mig-configs.mine: must be a list of entries"]),
        (
            "version: v1\nmig-configs: {mine: [all]}",
            ["mig-configs.mine[0]: must be a mapping with device-filter, devices, mig-enabled, mig-devices"],
        ),
        (
            "version: v1\nmig-configs: {}\nmig-config: {}",
            ["the file: unknown key 'mig-config', nearest: mig-configs; the keys are version, mig-configs"],
        ),
        (
            ENTRY % f"{GOOD}, mig-device: {{1g.5gb: 1}}",
            [
                (
                    "mig-configs.mine[0]: unknown key 'mig-device', nearest: mig-devices, devices; "
                    "the keys are device-filter, devices, mig-enabled, mig-devices"
                )
            ],
        ),
        (ENTRY % "mig-enabled: true", ["mig-configs.mine[0].devices: None must be all or a list of GPU indices"]),
        (
            ENTRY % "devices: [0, true, -1], mig-enabled: true",
            ["mig-configs.mine[0].devices: [0, True, -1] must be all or a list of GPU indices"],
        ),
        (ENTRY % "devices: all", ["mig-configs.mine[0].mig-enabled: None must be true or false"]),
        (
            ENTRY % "devices: all, mig-enabled: 'true'",
            ["mig-configs.mine[0].mig-enabled: 'true' must be true or false"],
        ),
        (
            ENTRY % f"{GOOD}, mig-devices: [1g.5gb]",
            ["mig-configs.mine[0].mig-devices: ['1g.5gb'] must be a mapping of profiles to counts"],
        ),
        (
            ENTRY % f"{GOOD}, mig-devices: {{1g.5gb: many, 1c.3g.20gb: 1}}",
            [
                "mig-configs.mine[0].mig-devices: 1g.5gb: 'many' must be a profile and a count",
                "mig-configs.mine[0].mig-devices: 1c.3g.20gb divides a GPU instance; only whole ones are offered",
            ],
        ),
        (
            ENTRY % "devices: all, mig-enabled: false, mig-devices: {1g.5gb: 1}",
            ["mig-configs.mine[0]: has mig-devices while mig-enabled is false"],
        ),
        (
            ENTRY % f"{GOOD}, device-filter: 0x20B010DE",
            [
                (
                    "mig-configs.mine[0].device-filter: 548409566 must be a quoted PCI id "
                    'such as "0x20B010DE", or a list of them'
                )
            ],
        ),
        (
            "version: v1\nmig-configs:\n  a: []\n  a: []",
            [
                (
                    "the MIG layout file is not valid YAML: key 'a' is there twice "
                    'in "<unicode string>", line 4, column 3: a: [] ^'
                )
            ],
        ),
    ],
)
def test_a_file_that_is_not_right_tells_every_problem(text: str, problems: list[str]) -> None:
    with pytest.raises(LayoutError) as refused:
        parse_mig_parted(text)

    assert list(refused.value.problems) == problems


def test_a_file_that_is_no_yaml_says_where() -> None:
    with pytest.raises(LayoutError, match=r"not valid YAML: .*line 1, column 11"):
        parse_mig_parted("version: {")


def test_a_file_is_read_as_mig_parted_reads_it() -> None:
    file = parse_mig_parted(
        """
version: v1
mig-configs:
  mixed:
  - devices: [0, 1]
    mig-enabled: false
  - device-filter: "0x20B010DE"
    devices: [2]
    mig-enabled: true
    mig-devices:
      "3g.20gb": 2
  - device-filter: ["0x20B210DE", "0x20B510DE"]
    devices: all
    mig-enabled: true
    mig-devices: {}
"""
    )

    assert file.configs == {
        "mixed": (
            MigPartedEntry((), (0, 1), mig_enabled=False, mig_devices=()),
            MigPartedEntry(("0x20B010DE",), (2,), mig_enabled=True, mig_devices=(("3g.20gb", 2),)),
            MigPartedEntry(("0x20B210DE", "0x20B510DE"), None, mig_enabled=True, mig_devices=()),
        )
    }
    layouts = file.resolve("mixed", slots(A100, 4))
    assert [(layout.index, len(layout.placements)) for layout in layouts] == [(0, 0), (1, 0), (2, 2)]


def test_the_builtin_layouts_survive_writing_and_reading() -> None:
    assert parse_mig_parted(BUILTIN.to_yaml()) == BUILTIN


@st.composite
def entries(draw: st.DrawFn) -> MigPartedEntry:
    enabled = draw(st.booleans())
    profiles = st.sampled_from(["1g.5gb", "1g.5gb+me", "3g.20gb", "1g.24gb-me"])
    counts = draw(st.dictionaries(profiles, st.integers(0, 7))) if enabled else {}
    return MigPartedEntry(
        device_filter=tuple(draw(st.lists(st.sampled_from(["0x20B010DE", "0x20B210DE", "0x233010DE"]), max_size=3))),
        devices=draw(st.none() | st.lists(st.integers(0, 15), min_size=1).map(tuple)),
        mig_enabled=enabled,
        mig_devices=tuple(counts.items()),
    )


@given(
    st.dictionaries(
        st.text("ayes1-.+: #'\"", min_size=1), st.lists(entries(), min_size=1, max_size=2).map(tuple), max_size=3
    )
)
def test_any_file_survives_writing_and_reading(configs: dict[str, tuple[MigPartedEntry, ...]]) -> None:
    file = MigPartedFile(configs)

    assert parse_mig_parted(file.to_yaml()) == file
