"""Hypothesis strategies of every frame, made from the structs themselves: a new frame is in them.

Only the way from a type to a strategy lives here; tests say what is done with the frames.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec.inspect as types
from hypothesis import strategies as st

from crypto_modes import wire

CLIENT: tuple[type[wire.Frame], ...] = get_args(wire.ClientFrame)
SERVER: tuple[type[wire.Frame], ...] = get_args(wire.ServerFrame)


def of(frame: type[wire.Frame], ids: st.SearchStrategy[bytes] | None = None) -> Any:
    """Legal frames of one type; ``ids`` are what stands wherever 16 bytes may stand."""
    return _strategy(types.type_info(frame), ids)


def _strategy(kind: types.Type, ids: st.SearchStrategy[bytes] | None) -> Any:
    match kind:
        case types.StructType():
            given = {field.name: _strategy(field.type, ids) for field in kind.fields}
            return st.builds(kind.cls, **given)
        case types.IntType():
            return st.integers(kind.ge or 0, 2**32 if kind.le is None else kind.le)
        case types.FloatType():
            return st.floats(allow_nan=False, allow_infinity=False)
        case types.BoolType():
            return st.booleans()
        case types.NoneType():
            return st.none()
        case types.LiteralType():
            return st.sampled_from(kind.values)
        case types.BytesType():
            least, most = kind.min_length or 0, 40 if kind.max_length is None else kind.max_length
            if ids is not None and least <= 16 <= most:
                return ids if least == 16 else ids | st.just(b"")
            return st.binary(min_size=least, max_size=max(least, min(most, 40)))
        case types.StrType():
            if kind.pattern is not None:
                return st.from_regex(kind.pattern, fullmatch=True).filter(
                    lambda text: 0 < len(text) <= (kind.max_length or 32)
                )
            least = kind.min_length or 0
            return st.text(min_size=least, max_size=min(kind.max_length or 40, 40))
        case types.VarTupleType():
            item = _strategy(kind.item_type, ids)
            return st.lists(item, min_size=kind.min_length or 0, max_size=3).map(tuple)
        case types.TupleType():
            return st.tuples(*(_strategy(each, ids) for each in kind.item_types))
        case types.DictType():
            keys, values = _strategy(kind.key_type, ids), _strategy(kind.value_type, ids)
            return st.dictionaries(keys, values, max_size=kind.max_length or 3)
        case types.UnionType():
            return st.one_of([_strategy(each, ids) for each in kind.types])
    raise AssertionError(f"add a strategy for {kind}")
