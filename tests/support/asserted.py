"""The texts that the checks of a graph may say: what leads to its Assert nodes, through its functions."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

# Operations whose texts are those of their inputs; others, such as AsString, make texts of their own.
_PASSING = {"StringJoin", "ReduceJoin", "Identity", "Select", "SelectV2", "BroadcastTo", "Fill"}
_PASSING |= {"GatherV2", "StridedSlice", "Reshape", "Pack", "ConcatV2", "PlaceholderWithDefault"}


class _Place(NamedTuple):
    """An input of a node, within a function; within "" of the graph itself."""

    function: str
    input: str


def texts(graph: Any) -> set[bytes]:
    """Returns the constant texts that the Assert nodes of a GraphDef and of its functions join.

    Args:
        graph: The GraphDef.
    """
    nodes = {"": list(graph.node)}
    nodes |= {each.signature.name: list(each.node_def) for each in graph.library.function}
    arguments = {
        each.signature.name: [one.name for one in each.signature.input_arg] for each in graph.library.function
    }
    by_name = {function: {node.name: node for node in each} for function, each in nodes.items()}
    calls = _calls(nodes)
    ahead = [
        _Place(function, name)
        for function, each in nodes.items()
        for node in each
        if node.op == "Assert"
        for name in _data(node)[1:]  # the first is the condition
    ]
    seen, found = set(ahead), set()
    while ahead:
        function, name = ahead.pop()
        node = by_name[function].get(name)
        if node is None:  # an argument of the function
            index = arguments[function].index(name)
            # Of `If` the first input is the condition, which is no argument.
            following = [
                _Place(caller, inputs[len(inputs) - len(arguments[function]) + index])
                for caller, inputs in calls.get(function, ())
            ]
        else:
            following = [_Place(function, each) for each in _data(node)] if node.op in _PASSING else []
            found |= set(_constants(node))
        ahead += [place for place in following if place not in seen]
        seen |= set(following)
    return found


def _data(node: Any) -> list[str]:
    """Returns the names of a node's inputs: of other nodes, or of arguments."""
    return [each.split(":")[0] for each in node.input if not each.startswith("^")]


def _calls(nodes: dict[str, list[Any]]) -> dict[str, list[tuple[str, list[str]]]]:
    """Returns {function: (the function that it is called in, inputs of the call)}."""
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for function, each in nodes.items():
        for node in each:
            for value in node.attr.values():
                for called in (value.func, *value.list.func):
                    if called.name:
                        found.setdefault(called.name, []).append((function, _data(node)))
    return found


def _constants(node: Any) -> Iterator[bytes]:
    """Yields the texts of a constant."""
    if node.op == "Const" and node.attr["dtype"].type == tf.string.as_datatype_enum:
        yield from tf.make_ndarray(node.attr["value"].tensor).ravel()
