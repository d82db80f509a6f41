from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from retarget.core.paths import cache_dir
from retarget.features.onnx_graphs import (
    GraphError,
    check_graph,
    graph_path,
    keep_graph,
    kept_graph,
)


def graph(domain: str = "", operator: str = "Add") -> onnx.ModelProto:
    """y = x + w."""
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["batch", 2]) for n in "xy")
    weights = numpy_helper.from_array(np.ones(2, np.float32), "w")
    node = helper.make_node(operator, ["x", "w"], ["y"], domain=domain)
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    made = helper.make_graph([node], "g", [x], [y], [weights])
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def outside(tensor: TensorProto, location: str) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location


def test_a_sound_graph_is_kept_and_read(tmp_path: Path) -> None:
    whole = graph().SerializeToString()
    keep_graph(tmp_path / "graphs" / "a.onnx", whole)
    assert kept_graph(tmp_path / "graphs" / "a.onnx") == whole
    assert [p.name for p in (tmp_path / "graphs").iterdir()] == ["a.onnx"]


@pytest.mark.parametrize("location", ["/etc/passwd", "../../secret", "weights.bin"])
def test_weights_in_another_file_are_refused(location: str) -> None:
    model = graph()
    outside(model.graph.initializer[0], location)
    with pytest.raises(GraphError, match="another file"):
        check_graph(model.SerializeToString())


def test_weights_in_another_file_are_refused_inside_an_inner_graph() -> None:
    constant = numpy_helper.from_array(np.ones(2, np.float32), "c")
    outside(constant, "/etc/passwd")
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value=constant)], "i", [], [y]
    )
    condition = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner)
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, [2])
    outer = helper.make_graph([node], "o", [], [z], [condition])
    model = helper.make_model(outer, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(GraphError, match="another file"):
        check_graph(model.SerializeToString())


def test_unknown_operators_are_refused() -> None:
    with pytest.raises(GraphError, match="evil"):
        check_graph(graph("evil", "Run").SerializeToString())


@pytest.mark.parametrize("data", [b"", b"\x80\x04pickle", b"\0" * 100, b"\xff" * 100])
def test_what_is_no_graph_is_refused(data: bytes) -> None:
    with pytest.raises(GraphError, match="not a valid ONNX graph"):
        check_graph(data)


def test_a_graph_is_named_by_encoder_pooling_and_versions() -> None:
    path = graph_path("a" * 32, "mean+max")
    assert path.parent == cache_dir() / "graphs"
    assert path.name.startswith(f"{'a' * 32}-mean+max-torch")
    assert graph_path("../x", "mean").parent == path.parent
