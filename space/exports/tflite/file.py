"""A TFLite file that is built tensor by tensor; equal bytes are one buffer.

Written with the schema's own classes. Contents of buffers start at multiples of 16 bytes, as
microcontrollers read them in place. What is equal stands in the file once: constants with their
steps, the options of operators, vectors such as zero points of 8 bytes a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]
IDENTIFIER = b"TFL3"
SCHEMA = 3
ALIGNMENT = 16
TYPES = {
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
}


class _Builder(flatbuffers.Builder):  # type: ignore[misc]  # without types
    """vectors: where they are in the file, by their content."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.vectors: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: Array) -> int:  # noqa: N802  the name of flatbuffers
        """Write a vector if it is not there yet."""
        key = (x.dtype.str, x.tobytes())
        if key not in self.vectors:
            self.vectors[key] = super().CreateNumpyVector(x)
        return self.vectors[key]


class _Once:
    """A table that is written where it is first needed; others point there."""

    def __init__(self, table: Any) -> None:
        self._table, self._place = table, 0

    def Pack(self, builder: Any) -> int:  # noqa: N802  the name of flatbuffers
        """Where it is in the file."""
        self._place = self._place or self._table.Pack(builder)
        return self._place


class _Buffer(schema.BufferT):  # type: ignore[misc]  # generated without types
    def Pack(self, builder: Any) -> int:  # noqa: N802  the name of flatbuffers
        """Write the bytes, aligned."""
        if self.data is None:
            return int(super().Pack(builder))
        builder.StartVector(1, len(self.data), ALIGNMENT)
        builder.head -= len(self.data)
        builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class TfliteFile:
    """One graph. Tensors and operators are known by their place, as in the file."""

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[tuple[int, int], int] = {}
        self._buffers: dict[bytes, int] = {b"": 0}
        self._constants: dict[object, int] = {}
        self._tables: dict[object, _Once] = {}

    def tensor(
        self,
        shape: Sequence[int],
        content: Array | None = None,
        steps: tuple[Any, int] | None = None,
        name: str = "",
        *,
        channels: int = 0,
    ) -> int:
        """Add a tensor, int8 unless its content is of another type; equal constants are one.

        steps: scale and zero point; a scale may be one number or one for each channel, which are
        along the dimension ``channels``.
        """
        made = schema.TensorT()
        made.shape = np.array(shape, np.int32)
        made.type = TYPES["int8" if content is None else str(content.dtype)]
        data = b"" if content is None else content.tobytes()
        made.buffer = self._buffers.setdefault(data, len(self._buffers))
        made.name = name or None
        if steps is not None:
            made.quantization = self._quantization(*steps, channels)
        if content is None:
            return self._added(made)
        key = (made.type, tuple(shape), made.buffer, made.quantization)
        if key not in self._constants:
            self._constants[key] = self._added(made)
        return self._constants[key]

    def _added(self, tensor: Any) -> int:
        self._tensors.append(tensor)
        return len(self._tensors) - 1

    def _quantization(self, scale: Any, zero: int, channels: int) -> _Once:
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        key = (scales.tobytes(), zero, channels)
        if key not in self._tables:
            made = schema.QuantizationParametersT()
            made.scale, made.zeroPoint = scales, np.full(len(scales), zero, np.int64)
            made.quantizedDimension = channels
            self._tables[key] = _Once(made)
        return self._tables[key]

    def numbers(self, *numbers: int) -> int:
        """A constant vector of int32."""
        return self.tensor((len(numbers),), np.array(numbers, np.int32))

    def operator(
        self, name: str, version: int, inputs: Sequence[int], output: int, **options: Any
    ) -> None:
        """Add an operator. options: by the names of the schema, of the kind ``of``."""
        made = schema.OperatorT()
        code = getattr(schema.BuiltinOperator, name)
        made.opcodeIndex = self._codes.setdefault((code, version), len(self._codes))
        made.inputs, made.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        if kind := options.pop("of", ""):
            made.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            made.builtinOptions = self._options(kind, options)
        self._operators.append(made)

    def _options(self, kind: str, options: dict[str, Any]) -> _Once:
        key = (kind, repr(options))
        if key not in self._tables:
            made = getattr(schema, f"{kind}T")()
            for name, value in options.items():
                setattr(made, name, value)
            self._tables[key] = _Once(made)
        return self._tables[key]

    def save(self, path: Path, start: int, end: int, description: str) -> None:
        """The whole file. start, end: the tensors that go in and come out."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self._tensors, self._operators
        graph.inputs, graph.outputs = [start], [end]
        model = schema.ModelT()
        model.version, model.description = SCHEMA, description
        model.subgraphs = [graph]
        model.operatorCodes = [_code(*one) for one in self._codes]
        model.buffers = [_buffer(data) for data in self._buffers]
        builder = _Builder(sum(map(len, self._buffers)) + 1024)
        builder.Finish(model.Pack(builder), IDENTIFIER)
        path.write_bytes(builder.Output())


def _code(code: int, version: int) -> Any:
    made = schema.OperatorCodeT()
    made.builtinCode, made.version = code, version
    made.deprecatedBuiltinCode = min(code, 127)
    return made


def _buffer(data: bytes) -> Any:
    made = _Buffer()
    made.data = data or None
    return made
