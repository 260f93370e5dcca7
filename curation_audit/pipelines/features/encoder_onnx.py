"""An encoder in an ONNX file, run by ONNX Runtime on the processor.

A file is a graph of standard operations on numbers, without code of its own. Weights in other files
are refused: the hash of the file would not cover them.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from curation_audit.checks import SettingError, did_you_mean
from curation_audit.pipelines.features.encoder_file import (
    Content,
    EncoderFile,
    as_shape,
    check_shape,
)
from curation_audit.pipelines.features.encoder_loaded import Encode
from curation_audit.types import Features

EXTERNAL: Final = b"\x0a\x08location"
"""How the entry of a tensor begins that says in which other file its numbers lie."""
DTYPES: Final = {"tensor(float)": np.float32, "tensor(double)": np.float64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Onnx(EncoderFile):
    """A graph of one tensor (n, d), or (n, *``shape``), to one (n, p).

    ``input`` and ``output`` name them where there are several. The device of the run is not used.
    """

    name: ClassVar[str] = "onnx"
    input: str | None = None
    output: str | None = None
    shape: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        """Check the settings."""
        EncoderFile.__post_init__(self)
        check_shape(self.shape)

    def load(self, content: Content) -> Encode:
        """A session of one thread."""
        session = _session(content)
        given = _chosen(content, "input", self.input, session.get_inputs())
        output = _chosen(content, "output", self.output, session.get_outputs()).name
        others = [one.name for one in session.get_inputs() if one.name != given.name]
        if others:
            raise content.refused(f"needs inputs beside {given.name!r}: {', '.join(others)}")
        if given.type not in DTYPES:
            raise content.refused(f"reads {given.type}", "expected tensor(float)")

        def encode(rows: Features) -> Any:
            fed = as_shape(rows, self.shape).astype(DTYPES[given.type])
            return session.run([output], {given.name: fed})[0]

        return encode


def _session(content: Content) -> Any:
    """A session that reads no other file, and gives the same bits again.

    Raises:
        SettingError: without ONNX Runtime, or for bytes that are no graph.
    """
    try:
        import onnxruntime
    except ImportError:
        raise SettingError(
            "features.steps",
            "an onnx step needs ONNX Runtime, which is not installed",
            "pip install 'curation-audit[onnx]'",
        ) from None
    if EXTERNAL in content.held:
        hint = "save it as one file, e.g. torch.onnx.export(..., external_data=False)"
        raise content.refused("keeps weights in another file, which its hash misses", hint)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 4  # what is wrong is told below
    with tempfile.TemporaryDirectory() as empty:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", empty
        )
        try:
            return onnxruntime.InferenceSession(
                content.held, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # it has a class for every code of an error
            problem = f"cannot be loaded as ONNX ({type(error).__name__})"
            raise content.refused(problem, "expected a model of standard operations") from None


def _chosen(content: Content, what: str, name: str | None, offered: Sequence[Any]) -> Any:
    """The input or output of that name, or the only one.

    Raises:
        SettingError: if there is none, or no way to tell.
    """
    found = {one.name: one for one in offered}
    if name is None and len(found) == 1:
        return offered[0]
    if name is None:
        raise content.refused(f"has {len(found)} {what}s", f"set {what}: {' or '.join(found)}")
    if name not in found:
        raise content.refused(f"has no {what} {name!r}", did_you_mean(name, found))
    return found[name]
