"""Property values as hypothesis draws them: plain ones, and ones with secrets and unknowns anywhere."""

from hypothesis import strategies as st

from gpu_sandbox.standins.kubernetes.values import UNKNOWN, Secret

leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda number: not number.is_integer())
    | st.text(max_size=8)
)
keys = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=20
)
marked = st.recursive(
    leaves | st.just(UNKNOWN),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4) | inner.map(Secret),
    max_leaves=20,
)
