"""Raw pointers for kernels: what an array holds, without the array's reference count.

Handing an array to a compiled function counts a reference up and down, atomically; done once per word or character that
costs more than the work itself. A kernel takes pointers to its arrays and hands them to its inner functions.

Two things are the kernel's to see to. A pointer keeps nothing alive, and Numba releases an array after the last line
that names it: take the pointer inside the loop over documents, where the next turn names the array again (arguments
belong to the caller and are safe). And a pointer knows no length: who writes through one states the bound beside it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import TypingError
from numba.np.arrayobj import make_array

from gristmill.stages.kernels.intrinsics import intrinsic


@intrinsic
def pointer(typingctx: Any, array: Any) -> Any:
    """The address of a C-contiguous array's first element, as a pointer that is indexed like the array."""
    if not (isinstance(array, types.Array) and array.layout == "C"):
        raise TypingError(f"pointer: expected a C-contiguous array, found {array}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), codegen


@intrinsic
def load8_at(typingctx: Any, data: Any, i: Any) -> Any:
    """uint64 of the eight bytes at data + i, the first in the lowest bits, on any machine. `data` points to uint8."""
    if data != types.CPointer(types.uint8):
        raise TypingError(f"load8_at: expected a pointer to uint8, found {data}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), word.as_pointer())
        value = builder.load(address, align=1, typ=word)
        return builder.bswap(value) if sys.byteorder == "big" else value

    return types.uint64(data, types.int64), codegen


@intrinsic
def store8_at(typingctx: Any, data: Any, i: Any, value: Any) -> Any:
    """Write a uint64 to the eight bytes at data + i, its lowest bits to the first, on any machine. `data` points to uint8."""
    if data != types.CPointer(types.uint8) or value != types.uint64:
        raise TypingError(f"store8_at: expected a pointer to uint8 and a uint64, found {data} and {value}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), ir.IntType(64).as_pointer())
        found = builder.bswap(arguments[2]) if sys.byteorder == "big" else arguments[2]
        builder.store(found, address, align=1)
        return context.get_dummy_value()

    return types.void(data, types.int64, types.uint64), codegen


@intrinsic
def fetch_ahead(typingctx: Any, data: Any, i: Any) -> Any:
    """Ask for the cache line of data[i], which is soon to be read and written. Nothing is read: any address will do."""
    if not isinstance(data, types.CPointer):
        raise TypingError(f"fetch_ahead: expected a pointer, found {data}")

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        address = builder.bitcast(builder.gep(arguments[0], [arguments[1]]), byte)
        builder.call(function, [address, number(1), number(3), number(1)])
        return context.get_dummy_value()

    return types.void(data, types.int64), codegen


def read_only(array: np.ndarray, dtype: type) -> np.ndarray:
    """A contiguous view that cannot be written to: Numba compiles a kernel anew for every combination of writable
    arguments."""
    view: np.ndarray = np.ascontiguousarray(array, dtype).view()
    view.setflags(write=False)
    return view
