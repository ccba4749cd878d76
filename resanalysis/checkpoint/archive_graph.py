"""What the graph of a ``torch.export`` archive may say, so that nothing of it becomes code.

``torch.export.load`` turns several strings of its JSON into code: symbolic sizes are evaluated, names
are written into the source of ``forward``, operators are looked up from ``torch`` by any path
(``torch.os.system`` among them), guards are executed, and types named in tree specifications are
imported. Here every string is checked by what it is used for, or dropped, and one of a kind that is
not known must consist of harmless characters.

Source: torch/_export/serde/serialize.py, torch/utils/_pytree.py, torch/fx/graph.py,
torch/export/_unlift.py (torch 2.14).
"""

from __future__ import annotations

import ast
import importlib
import json
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeGuard

import torch

from resanalysis.errors import ResanalysisError

# Not needed to run the graph, or of no use without what else is dropped here.
_DROPPED: dict[str, Any] = {"guards_code": [], "treespec_namedtuple_fields": {}}
_CPU = {"type": "cpu", "index": None}

_PLAIN = re.compile(r"[\w .:/@+,\-]*")
_SPECIAL = re.compile(r"(?:^|\.)__\w*__(?:\.|$)")  # __class__ and the like, as a part of a path

_OPERATOR = re.compile(r"torch\.ops\.(aten|prims|torchvision)\.(\w+)\.(\w+)")
_FILE_OPERATORS = {"from_file"}
_CONTROL_FLOW = {
    f"torch.ops.higher_order.{name}"
    for name in ("wrap_with_set_grad_enabled", "wrap_with_autocast", "cond", "while_loop")
}
_ARITHMETIC = {
    *(
        f"_operator.{name}"
        for name in (
            *("eq", "ne", "le", "ge", "lt", "gt", "neg", "pos", "mul", "add", "sub", "floordiv"),
            *("mod", "pow", "truediv", "and_", "or_", "lshift", "rshift", "getitem"),
        )
    ),
    *(f"torch.sym_{name}" for name in ("not", "int", "float", "ite", "max", "min", "sqrt")),
    "math.trunc",
    "math.ceil",
    "math.floor",
}

_SYMBOL = re.compile(r"[A-Za-z_]\w{0,40}")
_ASSUMPTIONS = {"positive", "nonnegative", "negative", "integer", "real", "finite", "precision"}
# As sympy writes them; powers, which can grow without bound, are looked at one by one.
_FUNCTIONS = {
    *("Integer", "Float", "Rational", "Add", "Mul", "Max", "Min", "Abs", "floor", "ceiling"),
    *("Mod", "PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "ModularIndexing", "Where"),
    *("IntTrueDiv", "FloatTrueDiv", "CeilToInt", "FloorToInt", "TruncToInt", "RoundToInt"),
    *(
        "ToFloat",
        "TruncToFloat",
        "Identity",
        "And",
        "Or",
        "Not",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
    ),
    *("Equality", "Unequality", "StrictLessThan", "LessThan", "StrictGreaterThan", "GreaterThan"),
}
_MAKERS = {"Symbol", "Float"}
_POWERS = {"Pow", "PowByNatural"}
_LARGEST_EXPONENT = 64
_SYNTAX = (
    ast.Expression, ast.BinOp, ast.UnaryOp, ast.Compare, ast.BoolOp, ast.Load,
    ast.operator, ast.unaryop, ast.cmpop, ast.boolop,
)  # fmt: skip

_CONTAINERS = {"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}
_TRANSFORMERS = re.compile(r"(transformers\.(?:modeling_outputs|models\.\w+\.modeling_\w+))\.\w+")


class UnsafeError(ValueError):
    """Something in an archive that could run code: what it is."""


def vetted_graph(document: Any) -> Any:
    """The JSON of an archive with what could run code left out, devices set to the CPU.

    Parameters
    ----------
    document : a parsed ``models/NAME.json``, or the configuration of weights or constants.

    Raises
    ------
    UnsafeError : if something that cannot be left out could run code.
    """
    return _vetted(document, "")


def _vetted(value: Any, key: str) -> Any:
    """One value of the JSON, checked by the key it stands under."""
    if key in _DROPPED:
        return _DROPPED[key]
    if isinstance(value, dict):
        return _vetted_dict(value, key)
    if isinstance(value, list):
        return [_vetted(entry, key) for entry in value]
    if isinstance(value, str):
        return _CHECKS.get(key, _plain)(value)
    return value


def _vetted_dict(value: dict[str, Any], key: str) -> dict[str, Any]:
    # An input of the model may have one of these names as well; then it has fields of its own.
    if key == "metadata" and all(isinstance(entry, str) for entry in value.values()):
        # Module paths name the units. Stack traces and the rest are of the machine that exported.
        return {name: value[name] for name in ("nn_module_stack",) if name in value}
    if key in {"device", "as_device"} and value.keys() <= _CPU.keys():
        return dict(_CPU)
    return {_plain(name): _vetted(entry, name) for name, entry in value.items()}


def _plain(text: str) -> str:
    if not _PLAIN.fullmatch(text) or _SPECIAL.search(text):
        raise UnsafeError(f"the name {_shown(text)}")
    return text


def _name(text: str) -> str:
    if text and (not text.isidentifier() or _SPECIAL.search(text)):
        raise UnsafeError(f"the name {_shown(text)}")
    return text


def _literal(text: str) -> str:
    """A string argument: it is written into the source quoted."""
    return text


def _operator(text: str) -> str:
    if text in _ARITHMETIC or text in _CONTROL_FLOW:
        return text
    match = _OPERATOR.fullmatch(text)
    if match:
        namespace, name, overload = match.groups()
        if namespace == "torchvision":
            importlib.import_module("torchvision")
        full = f"{namespace}::{name}" + ("" if overload == "default" else f".{overload}")
        # TorchScript's own (aten::save) have no kernel in the dispatcher.
        if name not in _FILE_OPERATORS and torch._C._dispatch_has_kernel(full):
            return text
    raise UnsafeError(f"a call of {_shown(text)}")


def _expression(text: str) -> str:
    problem = UnsafeError(f"the symbolic size {_shown(text)}")
    if len(text) > 20_000:
        raise problem
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise problem from None
    if not _plain_arithmetic(tree):
        raise problem
    return text


def _plain_arithmetic(tree: ast.AST) -> bool:
    """Whether an expression consists of numbers, symbols and known functions of them.

    ``growth`` is the product of all exponents around a node: powers of powers multiply, and a short text
    can stand for a number that no memory holds.
    """
    # A list and no recursion: how deep an expression goes is the file's choice.
    pending: list[tuple[ast.AST, int]] = [(tree, 1)]
    while pending:
        node, growth = pending.pop()
        power = _power(node)
        if power is not None:
            growth *= max(1, abs(power[1]))
            if growth > _LARGEST_EXPONENT:
                return False
            # The exponent is a number, and was looked at with its power.
            inside: Iterable[ast.AST] | None = (power[0],)
        else:
            inside = _inside(node)
        if inside is None:
            return False
        pending.extend((child, growth) for child in inside)
    return True


def _inside(node: ast.AST) -> Iterable[ast.AST] | None:
    """What is still to be looked at in a part of an expression; ``None`` if the part is not allowed."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or not _known_call(node.func.id, node):
            return None
        return () if node.func.id in _MAKERS else node.args
    if isinstance(node, ast.Constant):
        return () if isinstance(node.value, int | float) else None
    if isinstance(node, ast.Name):
        return () if _is_symbol(node.id) and node.id not in _POWERS else None
    # Powers came before; a shift grows as fast as a power does.
    if isinstance(node, _SYNTAX) and not isinstance(node, ast.Pow | ast.LShift | ast.RShift):
        return ast.iter_child_nodes(node)
    return None


def _is_symbol(name: str) -> bool:
    return _SYMBOL.fullmatch(name) is not None and not _SPECIAL.search(name)


def _power(node: ast.AST) -> tuple[ast.AST, int] | None:
    """Base and exponent of a power with a whole number as its exponent."""
    parts = _base_and_exponent(node)
    if parts is None:
        return None
    base, exponent = parts
    if _is_call(exponent, {"Integer"}, 1):
        exponent = exponent.args[0]
    if isinstance(exponent, ast.UnaryOp) and isinstance(exponent.op, ast.USub):
        exponent = exponent.operand
    if isinstance(exponent, ast.Constant) and type(exponent.value) is int:
        return base, exponent.value
    return None


def _base_and_exponent(node: ast.AST) -> tuple[ast.AST, ast.AST] | None:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow):
        return node.left, node.right
    return (node.args[0], node.args[1]) if _is_call(node, _POWERS, 2) else None


def _is_call(node: ast.AST, names: set[str], arguments: int) -> TypeGuard[ast.Call]:
    """Whether a node calls one of these functions with so many arguments and no keywords."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id in names and len(node.args) == arguments and not node.keywords


def _known_call(name: str, call: ast.Call) -> bool:
    """Whether a call is of a known function, or makes a symbol or a number."""
    if not all(_is_assumption(word) for word in call.keywords):
        return False
    if name not in _MAKERS:
        return name in _FUNCTIONS and not call.keywords
    if len(call.args) != 1 or not isinstance(call.args[0], ast.Constant):
        return False
    text = str(call.args[0].value)
    if name == "Symbol":
        return _is_symbol(text)
    return re.fullmatch(r"-?\d{0,60}(\.\d{0,60})?(e[+-]?\d{1,4})?", text) is not None


def _is_assumption(word: ast.keyword) -> bool:
    if word.arg not in _ASSUMPTIONS or not isinstance(word.value, ast.Constant):
        return False
    return isinstance(word.value.value, int) and word.value.value <= 1000


def _tree(text: str) -> str:
    version, tree = json.loads(text)
    return json.dumps([version, _subtree(tree)])


def _arguments_tree(text: str) -> str:
    """The specification of a call's arguments: the names of keyword arguments become source."""
    version, tree = json.loads(_tree(text))
    children = tree["children_spec"]
    if len(children) == 2 and children[1]["type"] == "builtins.dict":
        for name in json.loads(children[1]["context"]):
            if not isinstance(name, str) or not name:
                raise UnsafeError(f"the argument {_shown(str(name))}")
            _name(name)
    return json.dumps([version, tree])


def _subtree(tree: dict[str, Any]) -> dict[str, Any]:
    kind, context, children = tree["type"], tree["context"], tree["children_spec"]
    if kind is None:
        return {"type": None, "context": None, "children_spec": []}
    if kind not in _CONTAINERS:
        _import_outputs(kind)
    keys = json.loads(context)
    if keys is not None and not _are_keys(keys):
        raise UnsafeError(f"the keys {_shown(str(context))} of inputs or outputs")
    return {
        "type": kind,
        "context": json.dumps(keys),
        "children_spec": [_subtree(child) for child in children],
    }


def _import_outputs(kind: Any) -> None:
    """Import a class of outputs of transformers, which registers it, as exporting it did."""
    match = _TRANSFORMERS.fullmatch(kind) if isinstance(kind, str) else None
    if match is None:
        raise UnsafeError(f"inputs or outputs of the type {_shown(str(kind))}")
    try:
        importlib.import_module(match[1])
    except ImportError as error:
        raise ResanalysisError(
            f'it returns a {kind} ({error}): pip install "resanalysis[transformers]"'
        ) from None


def _are_keys(keys: Any) -> bool:
    return isinstance(keys, list) and all(isinstance(k, str | int | float | bool) for k in keys)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "…")


_CHECKS: dict[str, Callable[[str], str]] = {
    "target": _operator,
    "as_operator": _operator,
    "expr_str": _expression,
    "in_spec": _arguments_tree,
    "out_spec": _tree,
    "as_string": _literal,
    "as_strings": _literal,
    "name": _name,
    "as_name": _name,
    "forward_arg_names": _name,
}
