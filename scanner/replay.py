"""Run a training step once, write down what it did, and do that again without its interpreter.

A step is always the same sequence of tensor operations. On a CPU, half of the time of a step of
small networks goes to Python and to automatic differentiation, which find out that sequence anew.
Here it is taken down below both of them, and becomes a function of one line per operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import BuiltinFunctionType, MethodDescriptorType
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

Place = tuple[int, int, torch.Size, tuple[int, ...], torch.dtype]
Source = Callable[[], None]
UNUSED = "_"


def replayed(step: Callable[..., None]) -> Callable[..., None]:
    """A step whose first call is recorded, and whose later calls repeat its operations.

    Bit by bit what the step itself does, if
    - every call has inputs of the same shapes and types;
    - what it does never depends on the value of a tensor (it synchronises with no device);
    - tensors that it reads, but neither takes as an input nor writes, stay as they are, or are
      read by operations that write in place alone.

    Args:
        step: Works in place on tensors of its own; takes tensors.
    """
    program: Source | None = None
    held: list[Tensor] = []

    def run(*inputs: Tensor) -> None:
        nonlocal program, held
        if program is None:
            held = [tensor.clone() for tensor in inputs]
            program = _program(_record(step, held), held)
            return
        with torch.inference_mode():
            for kept, new in zip(held, inputs, strict=True):
                kept.copy_(new)
            program()

    return run


def working_bytes(step: Callable[..., None], *inputs: Tensor) -> int:
    """Takes a step; bytes that 19 of 20 of its operations read and write at most, each of them."""
    sizes = sorted(call.bytes() for call in _record(step, inputs) if not call.is_view())
    return sizes[-max(1, len(sizes) // 20)]


@dataclass(frozen=True)
class _Call:
    """One operation: its arguments and what came of it, all tensors kept alive."""

    operation: Any
    arguments: tuple[Any, ...]
    options: dict[str, object]
    result: Any

    def tensors(self) -> list[Tensor]:
        """All that go in."""
        return _tensors((self.arguments, self.options))

    def is_view(self) -> bool:
        """Whether nothing is computed: what comes of it lies in the memory of what goes in."""
        results = {_memory(tensor) for tensor in _tensors(self.result)}
        given = {_memory(tensor) for tensor in self.tensors()}
        return not self.operation._schema.is_mutable and results <= given

    def bytes(self) -> int:
        """Size of all that it reads and writes."""
        touched = {_place(tensor): tensor for tensor in (*self.tensors(), *_tensors(self.result))}
        return sum(tensor.numel() * tensor.element_size() for tensor in touched.values())

    def written(self) -> list[Tensor]:
        """Those that it changes in place."""
        schema = self.operation._schema.arguments
        given = dict(zip((a.name for a in schema), self.arguments, strict=False)) | self.options
        changed = [a.name for a in schema if a.alias_info is not None and a.alias_info.is_write]
        return _tensors([given.get(name) for name in changed])


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes down every operation of the dispatcher below automatic differentiation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[_Call] = []

    def __torch_dispatch__(
        self,
        func: Any,  # noqa: ANN401
        types: Any,  # noqa: ANN401
        args: tuple[Any, ...] = (),
        kwargs: dict[str, object] | None = None,
    ) -> Any:  # noqa: ANN401
        result = func(*args, **(kwargs or {}))
        self.calls.append(_Call(func, args, kwargs or {}, result))
        return result


def _record(step: Callable[..., None], inputs: Sequence[Tensor]) -> list[_Call]:
    recorder = _Recorder()
    with recorder:
        step(*inputs)
    return recorder.calls


@dataclass
class _Writer:
    """Source text of the calls so far.

    A tensor is known by the memory that it is a view of: whatever object refers to it, and whatever
    it was called. Views cost nothing here: they are taken of the tensor that was allocated, those
    of tensors from outside once and for all.

    Attributes:
        lines: Per line its text, the names it reads and the names it makes.
        values: What the names of constants stand for.
        made: Memory -> name and place of the tensor that was allocated there by the step.
        views: Place -> name.
    """

    lines: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    made: dict[int, tuple[str, Place]] = field(default_factory=dict)
    views: dict[Place, str] = field(default_factory=dict)

    def constant(self, value: Any) -> str:  # noqa: ANN401
        """A name for a value that never changes."""
        name = f"c{len(self.values)}"
        self.values[name] = value
        return name

    def tensor(self, tensor: Tensor) -> str:
        """The name of a tensor, after a line that makes it where it is a view of the step's own."""
        place = _place(tensor)
        if _memory(tensor) not in self.made:
            if place not in self.views:
                self.views[place] = self.constant(tensor.detach())
            return self.views[place]
        root, whole = self.made[_memory(tensor)]
        if place == whole:
            return root
        if place not in self.views:
            name, base = f"w{len(self.views)}", root
            if tensor.dtype != whole[-1]:
                base = f"{root}.view({self.constant(tensor.dtype)})"
            shape, stride, start = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
            self.lines.append(
                (f"{name} = as_strided({base}, {shape}, {stride}, {start})", [root], [name])
            )
            self.views[place] = name
        return self.views[place]

    def text(self, value: Any) -> str:  # noqa: ANN401
        """An argument as it stands in a call."""
        if isinstance(value, Tensor):
            return self.tensor(value)
        if isinstance(value, list | tuple):
            return "[" + ", ".join(self.text(part) for part in value) + "]"
        if value is None or isinstance(value, bool | int):
            return repr(value)
        return self.constant(value)

    def call(self, call: _Call) -> None:
        """Add a call; what it allocates gets a name."""
        arguments = [self.text(value) for value in call.arguments]
        options = [f"{k}={self.text(v)}" for k, v in call.options.items() if v is not None]
        text = f"{self.constant(_binding(call.operation))}({', '.join(arguments + options)})"
        read = [self.tensor(tensor) for tensor in call.tensors()]
        known = {_memory(tensor) for tensor in call.tensors()}
        if all(_memory(tensor) in known for tensor in _tensors(call.result)):
            self.lines.append((text, read, []))
            return
        several = isinstance(call.result, list | tuple)
        left = [self._name(part) for part in (call.result if several else [call.result])]
        names = [name for name in left if name != UNUSED]
        text = f"{', '.join(left)}{',' if several else ''} = {text}"
        self.lines.append((text, read, names))

    def _name(self, part: object) -> str:
        """A new name for a result; an operation may leave one out."""
        if not isinstance(part, Tensor):
            return UNUSED
        name = f"v{len(self.made)}"
        self.made[_memory(part)] = name, _place(part)
        return name

    def source(self) -> str:
        """The function `program`, in which a tensor is deleted after its last use."""
        last = {name: row for row, (_, read, made) in enumerate(self.lines)
                for name in (*read, *made)}  # fmt: skip
        gone: dict[int, list[str]] = {}
        for name, row in last.items():
            if name not in self.values:
                gone.setdefault(row, []).append(name)
        body = ["def program():"]
        for row, (text, _, _) in enumerate(self.lines):
            body.append(f"    {text}")
            if row in gone:
                body.append(f"    del {', '.join(gone[row])}")
        return "\n".join([*body, "    return"])


def _program(calls: Sequence[_Call], inputs: Sequence[Tensor]) -> Source:
    """The calls as a function, without views and without what gives the same at every call."""
    writer = _Writer()
    changing = {_memory(t) for call in calls for t in call.written()}
    changing |= {_memory(tensor) for tensor in inputs}
    for call in calls:
        given, results = call.tensors(), _tensors(call.result)
        if call.is_view():
            continue
        if not call.operation._schema.is_mutable and not any(
            _memory(t) in changing or _memory(t) in writer.made for t in (*given, *results)
        ):
            continue
        writer.call(call)
    scope = {**writer.values, "as_strided": torch.as_strided}
    exec(compile(writer.source(), "<recorded step>", "exec"), scope)
    return cast(Source, scope["program"])


def _binding(operation: Any) -> Any:  # noqa: ANN401
    """Torch's own function of an operation, which is called at half the cost, if there is one."""
    schema = operation._schema
    names = [argument.name for argument in schema.arguments]
    method = names[:1] == ["self"] and "out" not in names
    for owner in ((torch.Tensor,) if method else ()) + (torch, torch._C._nn):
        found = getattr(owner, schema.name.removeprefix("aten::"), None)
        if isinstance(found, MethodDescriptorType | BuiltinFunctionType):
            return found
    return operation._op


def _tensors(tree: Any) -> list[Tensor]:  # noqa: ANN401
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def _place(tensor: Tensor) -> Place:
    shape, stride = tensor.shape, tensor.stride()
    return _memory(tensor), int(tensor.storage_offset()), shape, stride, tensor.dtype
