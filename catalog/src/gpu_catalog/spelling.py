"""The nearest valid words to a wrong one, for error messages. It never corrects anything by itself."""

from __future__ import annotations

from collections.abc import Iterable


def nearest(word: str, candidates: Iterable[str], limit: int = 4) -> tuple[str, ...]:
    """The candidates closest to `word`, best first: those it is a part of, then those that are spelt alike."""
    import difflib  # noqa: PLC0415 - only an error pays for it

    by_folded = {candidate.casefold(): candidate for candidate in candidates}
    folded = word.casefold()
    alike = difflib.get_close_matches(folded, by_folded, n=3, cutoff=0.6)
    containing = sorted((name for name in by_folded if folded and folded in name), key=lambda name: (len(name), name))
    return tuple(by_folded[name] for name in dict.fromkeys([*containing, *alike]))[:limit]


def hint(word: str, candidates: Iterable[str]) -> str:
    """`", nearest: a, b"`, or nothing when no candidate is near."""
    found = nearest(word, candidates)
    return f", nearest: {', '.join(found)}" if found else ""
