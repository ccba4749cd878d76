"""Exported archives of every ordinary kind load, and nothing of a hostile one runs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn
from torch.export import Dim

from resanalysis.checkpoint import CheckpointError, load
from resanalysis.checkpoint.archive import rewritten
from resanalysis.checkpoint.archive_graph import UnsafeError, vetted_graph
from tests.conftest import cifar, reads_archives

pytestmark = reads_archives

GRAPH = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"


def exported(
    path: Path, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], dynamic: Any = None
) -> Path:
    program = torch.export.export(model.eval(), args, kwargs, dynamic_shapes=dynamic, strict=False)
    torch.export.save(program, path)
    return path


def same_outputs(loaded: nn.Module, model: nn.Module, *args: Any, **kwargs: Any) -> None:
    with torch.no_grad():
        got = pytree.tree_leaves(loaded(*args, **kwargs))
        expected = pytree.tree_leaves(model(*args, **kwargs))
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other)


# --- honest archives ------------------------------------------------------------------------------


class Everything(nn.Module):
    """Buffers of both kinds, constants, odd names, flags, keyword and container arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.register_buffer("kept", torch.ones(4))
        self.register_buffer("dropped", torch.full((4,), 2.0), persistent=False)
        self.constant = torch.arange(4.0)
        self.parts = nn.ModuleDict({"a-b c": nn.Linear(4, 4)})
        self.shared = nn.ModuleList([self.linear, self.linear])

    def forward(
        self,
        metadata: Tensor,
        *more: Tensor,
        device: Tensor | None = None,
        pair: tuple[Tensor, dict[str, Tensor]] | None = None,
    ) -> dict[str, Any]:
        y = self.linear(metadata) + self.kept + self.dropped + self.constant
        y = self.shared[1](y) + self.parts["a-b c"](metadata) + torch.tensor([1.0, 2, 3, 4])
        for x in more:
            y = y + x
        if device is not None:
            y = nn.functional.gelu(y * device, approximate="tanh")
        if pair is not None:
            y = y + pair[0] + pair[1]["u.v"]
        with torch.no_grad():
            total = y.sum()
        flat = y.reshape(y.shape[0] * 4)
        return {"y": flat, "odd key": (total, [y]), "o": OrderedDict(a=y)}


def test_everything_an_ordinary_model_may_have(tmp_path: Path) -> None:
    batch, model = Dim("batch", min=2, max=64), Everything()
    x, scale, pair = torch.randn(3, 4), torch.ones(4), (torch.randn(4), {"u.v": torch.ones(4)})
    dynamic = {
        "metadata": {0: batch},
        "more": ({0: batch},),
        "device": None,
        "pair": (None, {"u.v": None}),
    }
    path = exported(tmp_path / "m.pt2", model, (x, x), {"device": scale, "pair": pair}, dynamic)
    loaded, wider = load(path), torch.randn(9, 4)
    same_outputs(loaded, model, wider, wider, device=scale, pair=pair)
    assert set(loaded.state_dict()) >= {"linear.weight", "kept"}


class Sizes(nn.Module):
    """Sizes that are expressions of the input's: floor division, remainder, powers, minimum."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        n = x.shape[0]
        even = x[: n // 2 * 2].reshape(2, -1)
        return even, x.new_zeros(n**2 + n % 3), x[:3], x.flatten()


class Branches(nn.Module):
    """Control flow and mixed precision, which are graphs inside the graph."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = self.linear(x)
        return torch.cond(x.sum() > 0, lambda a: a + 1, lambda a: a - 1, (y.float(),))


def test_sizes_and_control_flow(tmp_path: Path) -> None:
    path = exported(tmp_path / "s.pt2", Sizes(), (torch.randn(8, 5),), {}, ({0: Dim.AUTO},))
    same_outputs(load(path), Sizes(), torch.randn(7, 5))
    model = Branches()
    path = exported(tmp_path / "b.pt2", model, (torch.randn(3, 4),), {})
    same_outputs(load(path), model, torch.randn(3, 4))


def test_a_residual_network_before_and_after_decomposition(tmp_path: Path) -> None:
    model, x = cifar(8), torch.randn(2, 3, 16, 16)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: Dim.AUTO},))
    for kind in (program, program.run_decompositions()):
        torch.export.save(kind, tmp_path / "m.pt2")
        same_outputs(load(tmp_path / "m.pt2"), model, torch.randn(5, 3, 16, 16))


@pytest.mark.nightly
def test_a_language_model_and_a_vision_transformer(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    timm = pytest.importorskip("timm")
    tokens = torch.randint(0, 20, (2, 6))
    config = transformers.GPT2Config(
        vocab_size=20, n_positions=16, n_embd=8, n_layer=1, n_head=2, use_cache=False,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = transformers.GPT2LMHeadModel(config).eval()
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    auto = {name: {0: Dim.AUTO, 1: Dim.AUTO} for name in inputs}
    loaded = load(exported(tmp_path / "gpt.pt2", model, (), inputs, auto))
    same_outputs(loaded, model, **{name: value[:, :5] for name, value in inputs.items()})

    vit = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, depth=1, embed_dim=8, num_heads=2, num_classes=3
    ).eval()
    x = torch.randn(2, 3, 32, 32)
    loaded = load(exported(tmp_path / "vit.pt2", vit, (x,), {}, ({0: Dim.AUTO},)))
    same_outputs(loaded, vit, torch.randn(4, 3, 32, 32))


def test_an_archive_of_another_device_comes_to_the_cpu(archive: Archive) -> None:
    archive.graph(
        lambda text: text.replace('{"type": "cpu", "index": null}', '{"type": "cuda", "index": 3}')
    )
    same_outputs(load(archive.write()), archive.model, torch.randn(3, 2))


def test_the_format_of_older_torch(tmp_path: Path) -> None:
    from torch._export.serde.serialize import serialize

    model, x = cifar(8), torch.randn(2, 3, 16, 16)
    parts = serialize(torch.export.export(model, (x,)))
    with zipfile.ZipFile(tmp_path / "old.pt2", "w") as file:
        file.writestr("version", "8.8")
        file.writestr("serialized_exported_program.json", parts.exported_program)
        file.writestr("serialized_state_dict.pt", parts.state_dict)
        file.writestr("serialized_constants.pt", parts.constants)
        file.writestr("serialized_example_inputs.pt", pickle.dumps(Runs("touch nothing")))
    same_outputs(load(tmp_path / "old.pt2"), model, x)


# --- hostile archives -----------------------------------------------------------------------------


class Runs:
    """A pickle of it runs a shell command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.first(image).relu()


class Archive:
    """An ordinary archive, taken apart to be changed and put together again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.marker = folder, folder / "ran"
        self.command = f"touch {self.marker}"
        self.python = f"__import__('os').system('{self.command}')"
        torch.manual_seed(0)
        self.model = Small()
        path = folder / "honest.pt2"
        exported(path, self.model, (torch.randn(3, 2),), {}, ({0: Dim.AUTO},))
        with zipfile.ZipFile(path) as file:
            self.parts = {name.partition("/")[2]: file.read(name) for name in file.namelist()}

    def document(self, name: str, change: Callable[[Any], None]) -> None:
        content = json.loads(self.parts[name])
        change(content)
        self.parts[name] = json.dumps(content).encode()

    def graph(self, change: Callable[[str], str]) -> None:
        before = self.parts[GRAPH].decode()
        after = change(before)
        assert before != after
        self.parts[GRAPH] = after.encode()

    def write(self, compression: int = zipfile.ZIP_STORED) -> Path:
        path = self.folder / "evil.pt2"
        with zipfile.ZipFile(path, "w", compression) as file:
            for name, content in self.parts.items():
                file.writestr(f"evil/{name}", content)
        return path


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def spec(kind: str, context: str) -> str:
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


def pickled_weight(a: Archive) -> None:
    def change(config: Any) -> None:
        config["config"]["first.weight"]["use_pickle"] = True

    a.document(WEIGHTS, change)
    a.parts["data/weights/weight_0"] = pickle.dumps(Runs(a.command))


def whole_pickle(a: Archive) -> None:
    a.parts["data/weights/model.pt"] = pickle.dumps(Runs(a.command))


def object_constant(a: Archive) -> None:
    def change(config: Any) -> None:
        config["config"]["thing"] = {
            "path_name": "opaque_obj_0", "is_param": False, "use_pickle": True, "tensor_meta": None,
        }  # fmt: skip

    a.document(CONSTANTS, change)
    a.parts["data/constants/opaque_obj_0"] = pickle.dumps(Runs(a.command))


def size_expression(a: Archive) -> None:
    a.graph(lambda text: re.sub(r"Symbol\('s\d+'[^)]*\)", a.python, text))


def last_node(a: Archive, target: str, **arguments: Any) -> None:
    def change(program: Any) -> None:
        node = program["graph_module"]["graph"]["nodes"][-1]
        node["target"] = target
        node["inputs"] = [
            {"name": name, "arg": argument, "kind": 1} for name, argument in arguments.items()
        ]

    a.document(GRAPH, change)


def operator_of_the_system(a: Archive) -> None:
    last_node(a, "torch.os.system", command={"as_string": a.command})


def operator_that_writes(a: Archive) -> None:
    last_node(
        a, "torch.ops.aten.from_file.default",
        filename={"as_string": str(a.marker)}, shared={"as_bool": True}, size={"as_int": 4},
    )  # fmt: skip


def operator_of_torchscript(a: Archive) -> None:
    last_node(
        a, "torch.ops.aten.save.default",
        item={"as_string": "x"}, filename={"as_string": str(a.marker)},
    )  # fmt: skip


def operator_that_loads_a_library(a: Archive) -> None:
    last_node(a, "torch.ops.load_library", path={"as_string": str(a.marker)})


def name_as_source(a: Archive) -> None:
    a.graph(lambda text: text.replace('"image"', json.dumps(f"image={a.python}")))


def argument_as_source(a: Archive) -> None:
    # Written twice, into the head of forward and into its first line: what is between becomes a string.
    name = f'x):\n    return\n{a.python}\ndef other():\n    print((["""'

    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["forward_arg_names"] = [name]

    a.document(GRAPH, change)


def keyword_as_source(a: Archive) -> None:
    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        tree = json.loads(signature["in_spec"])
        tree[1]["children_spec"][1]["context"] = json.dumps([f"x={a.python}"])
        tree[1]["children_spec"][1]["children_spec"] = tree[1]["children_spec"][0]["children_spec"]
        tree[1]["children_spec"][0]["children_spec"] = []
        signature["in_spec"], signature["forward_arg_names"] = json.dumps(tree), None

    a.document(GRAPH, change)


def parameter_as_source(a: Archive) -> None:
    hidden = "".join(f"\\x{ord(letter):02x}" for letter in a.python)  # a dot would split the name
    name = f'first", eval("{hidden}")) or getattr(self, "first'
    for part in (GRAPH, WEIGHTS):
        a.parts[part] = a.parts[part].replace(b'"first.weight"', json.dumps(name).encode())


def import_by_default_factory(a: Archive) -> None:
    (a.folder / "hostile_module.py").write_text(f"import os\nos.system('{a.command}')\nf = dict\n")
    context = {
        "default_factory_module": "hostile_module", "default_factory_name": "f", "dict_context": [],
    }  # fmt: skip

    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        tree = {"type": "collections.defaultdict", "context": context, "children_spec": []}
        signature["out_spec"] = json.dumps([1, tree])

    a.document(GRAPH, change)


def import_by_enum(a: Archive) -> None:
    (a.folder / "hostile_module.py").write_text(f"import os\nos.system('{a.command}')\n")
    context = json.dumps([{"__enum__": True, "fqn": "hostile_module:A", "name": "B"}])

    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = spec("builtins.dict", context)

    a.document(GRAPH, change)


HOSTILE = {
    pickled_weight: r"a pickle of more than tensors in its entry 'data/weights/weight_0'",
    whole_pickle: r"a pickle of more than tensors in its entry 'data/weights/model.pt'",
    object_constant: r"the entry 'evil/data/constants/opaque_obj_0'",
    size_expression: r'the symbolic size "__import__.* in its entry \'models/model.json\'',
    operator_of_the_system: r"a call of 'torch.os.system' in its entry 'models/model.json'",
    operator_that_writes: r"a call of 'torch.ops.aten.from_file.default'",
    operator_of_torchscript: r"a call of 'torch.ops.aten.save.default'",
    operator_that_loads_a_library: r"a call of 'torch.ops.load_library'",
    name_as_source: r'the name "image=__import__',
    argument_as_source: r'the name "x\):',
    keyword_as_source: r'the name "x=__import__',
    parameter_as_source: r"the name 'first\", eval",
    import_by_default_factory: r"inputs or outputs of the type 'collections.defaultdict'",
    import_by_enum: r"the keys .*__enum__.* of inputs or outputs",
}


@pytest.mark.parametrize("attack", HOSTILE, ids=lambda attack: attack.__name__)
def test_nothing_of_a_hostile_archive_runs(
    archive: Archive, attack: Callable[[Archive], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(archive.folder)
    attack(archive)
    path = archive.write()
    with pytest.raises(
        CheckpointError,
        match=rf"evil\.pt2 holds {HOSTILE[attack]}.*, which could run code; nothing of it was run\. "
        r"Save the model's state dict instead, or, if you trust .* add --trust-pickle",
    ):
        load(path)
    assert not archive.marker.exists()


# The others are stopped by a later check of torch 2.14, and must not depend on it.
REAL = set(HOSTILE) - {
    operator_of_the_system, operator_of_torchscript, operator_that_loads_a_library,
    keyword_as_source,
}  # fmt: skip


@pytest.mark.parametrize(
    "attack", sorted(REAL, key=lambda a: a.__name__), ids=lambda attack: attack.__name__
)
def test_the_attacks_are_real(
    archive: Archive, attack: Callable[[Archive], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs in torch's own loader, or when the model is called: else the test above shows nothing."""
    from torch.export.pt2_archive import constants  # the oldest versions have no such module

    if attack is object_constant and not hasattr(constants, "OPAQUE_OBJ_FILENAME_PREFIX"):
        pytest.skip("this torch has no constants of any class: it stops at the entry's name")
    monkeypatch.syspath_prepend(archive.folder)
    sys.modules.pop("hostile_module", None)
    attack(archive)
    with contextlib.suppress(Exception):  # most fail afterwards
        load(archive.write(), trust_pickle=True)(torch.randn(3, 2))
    sys.modules.pop("hostile_module", None)
    assert archive.marker.exists()


def hostile_examples(a: Archive) -> None:
    a.parts["data/sample_inputs/model.pt"] = pickle.dumps(Runs(a.command))


def hostile_guards(a: Archive) -> None:
    def change(program: Any) -> None:
        program["guards_code"] = [a.python]

    a.document(GRAPH, change)


def hostile_extras(a: Archive) -> None:
    a.parts["extra/run.py"] = a.python.encode()


@pytest.mark.parametrize("attack", [hostile_examples, hostile_guards, hostile_extras])
def test_what_is_not_needed_is_left_out(
    archive: Archive, attack: Callable[[Archive], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    attack(archive)
    loaded = load(archive.write())
    same_outputs(loaded, archive.model, torch.randn(5, 2))
    assert not archive.marker.exists()
    if attack is not hostile_extras:
        with contextlib.suppress(Exception):
            load(archive.write(), trust_pickle=True)(torch.randn(3, 2))
        assert archive.marker.exists(), "the attack would not have run anyway"


def test_compiled_code_and_unknown_entries_are_refused(archive: Archive) -> None:
    archive.parts["data/aotinductor/model/model.so"] = b"\x7fELF"
    with pytest.raises(CheckpointError, match=r"the entry 'evil/data/aotinductor/model/model.so'"):
        load(archive.write())


def test_the_archive_that_is_loaded_holds_nothing_else(archive: Archive) -> None:
    archive.parts["extra/notes.txt"] = b"hello"
    with zipfile.ZipFile(io.BytesIO(rewritten(archive.write()))) as file:
        parts = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    assert parts["data/sample_inputs/model.pt"] == b""
    assert "extra/notes.txt" not in parts
    assert parts["data/weights/weight_0"] == archive.parts["data/weights/weight_0"]
    nodes = json.loads(parts[GRAPH])["graph_module"]["graph"]["nodes"]
    assert all(set(node["metadata"]) <= {"nn_module_stack"} for node in nodes)


def expression(text: str) -> Any:
    return vetted_graph({"expr_str": text})


@pytest.mark.parametrize(
    "text",
    [
        "s0", "2*s0 + 1", "(s0 - 1)//2", "Mod(s0, 4)", "s0**2", "Pow(Symbol('s1', integer=True), Integer(2))",
        "Mul(Rational(1, 2), Symbol('u0'), Float('0.5', precision=53))", "Eq(s0, 1)", "s0 < 3",
        "Max(1, FloorDiv(Symbol('s7', positive=True, integer=True), Integer(-2)))", "(s0 > 1) & ~(s1 < 2)",
        " + ".join(f"s{n}**4" for n in range(50)),
    ],
)  # fmt: skip
def test_sizes_that_are_arithmetic(text: str) -> None:
    assert expression(text) == {"expr_str": text}


@pytest.mark.parametrize(
    "text",
    [
        "", "s0.x", "s0[0]", "f(s0)", "'s0'", "lambda: s0", "(s0 for s0 in s1)", "s0 if s1 else s2",
        "(s0 := 1)", "__import__", "Symbol('__class__')", "Symbol(\"x'); y\")", "Symbol(s0)",
        "Symbol('s', real=f(1))",
        "Integer('1')", "Float('x')", "Max(*s0)", "Max(**s0)", "1j", "9**9**9", "((s0**9)**9)**9", "Pow(9, s0)",
        "Pow(Integer(9), Pow(9, 9))", "1 << 99999999", "eval(s0)", "Function('f')", "s0 + (", "+" * 30_000,
    ],
)  # fmt: skip
def test_sizes_that_are_more_than_arithmetic(text: str) -> None:
    with pytest.raises(UnsafeError, match="the symbolic size "):
        expression(text)


@pytest.mark.parametrize(
    "name", ["a.__class__.b", "__dict__", "a'b", 'a"b', "a(b)", "a;b", "a\nb", "a=b", "a\\b", "a[0]", "a#b"]
)  # fmt: skip
def test_names_that_could_reach_the_source_or_a_class(name: str) -> None:
    with pytest.raises(UnsafeError, match="the name "):
        vetted_graph({"parameter_name": name})
    with pytest.raises(UnsafeError, match="the name "):
        vetted_graph({"config": {name: 1}})
    assert vetted_graph({"as_string": name}) == {"as_string": name}  # written quoted


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.add", "torch.ops.aten.add.Tensor.__call__", "torch.ops.mine.op.default", "torch.load",
        "torch.ops.aten.__class__.mro", "torch.ops.higher_order.call_torchbind", "_operator.attrgetter",
        "torch.hub.load", "math.prod", "#ext:op", "os.system", "torch.ops.aten.no_such.default", "",
    ],
)  # fmt: skip
def test_operators_that_are_not_torchs_arithmetic(target: str) -> None:
    for key in ("target", "as_operator"):
        with pytest.raises(UnsafeError, match="a call of "):
            vetted_graph({key: target})


def test_outputs_of_a_library_that_is_not_there(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(program: Any) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["out_spec"] = spec("transformers.models.absent.modeling_absent.Output", "[]")

    archive.document(GRAPH, change)
    with pytest.raises(
        CheckpointError,
        match=r"it returns a transformers\.models\.absent.* pip install \"resanalysis\[",
    ):
        load(archive.write())
    monkeypatch.setitem(sys.modules, "torch.export.pt2_archive", None)
    with pytest.raises(CheckpointError, match=r"without --trust-pickle needs torch 2.9 or later"):
        load(archive.write())


# --- damaged archives -----------------------------------------------------------------------------


def test_damaged_archives_are_one_readable_line(archive: Archive) -> None:
    whole = archive.write().read_bytes()
    bad = archive.folder / "bad.pt2"
    state = io.BytesIO()
    torch.save(archive.model.state_dict(), state)
    for content, reason in (
        (b"", "File is not a zip file"),
        (whole[: len(whole) // 2], "File is not a zip file"),
        (state.getvalue(), r"it has no models/model.json; files of torch.save are named .pt"),
    ):
        bad.write_bytes(content)
        with pytest.raises(
            CheckpointError, match=rf"bad.pt2 is no readable torch.export archive: .*{reason}"
        ):
            load(bad)
    with pytest.raises(CheckpointError, match=r"'evil/.*' is compressed"):
        load(archive.write(zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("part", [GRAPH, WEIGHTS, CONSTANTS, "data/weights/weight_0"])
@pytest.mark.parametrize("how", ["absent", "empty", "other"])
def test_damaged_parts(archive: Archive, part: str, how: str) -> None:
    if how == "absent":
        del archive.parts[part]
    else:
        archive.parts[part] = b"" if how == "empty" else b"[[{}]]"
    with pytest.raises(
        CheckpointError, match=r"evil.pt2 is no readable torch.export archive: \w+: "
    ):
        load(archive.write())
