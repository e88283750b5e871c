"""All mutants, and the sample of them that is tested."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one function.

    mutmut numbers the mutants of a function, so any change of the function may change the name. The identity consists
    of the function's name, a digest of the changed lines, and a number if several mutants share both. It stays the
    same until those lines change.
    """

    name: str
    identity: str
    folder: str
    diff: str


def population(tree: Path, modules: Mapping[str, Iterable[Path]]) -> list[Mutant]:
    """Make the mutants of all modules, with mutmut."""
    # Only `make mutants` installs mutmut, which reads its options on import.
    mutation: Any = importlib.import_module("mutmut.mutation.file_mutation")
    mutants: list[Mutant] = []
    with contextlib.chdir(tree):
        for folder, paths in modules.items():
            for path in paths:
                made = mutation.mutate_file_contents(str(path), path.read_text())
                module = ".".join(path.relative_to(tree / "src").with_suffix("").parts)
                lines = made.code.splitlines()
                texts = {
                    name: lines[span.start - 1 : span.end] for name, span in made.line_span_by_function_name.items()
                }
                mutants += mutants_of(folder, module, made.mutant_names, texts)
    return mutants


def mutants_of(folder: str, module: str, names: Iterable[str], texts: Mapping[str, list[str]]) -> list[Mutant]:
    """Identify the mutants of a module by comparing each with its original."""
    mutants: list[Mutant] = []
    alike: Counter[str] = Counter()
    for name in names:
        mangled = name.rpartition("__mutmut_")[0]
        # mutmut writes x_function, and xǁClassǁmethod.
        function = mangled.removeprefix("x").removeprefix("_").strip("ǁ").replace("ǁ", ".")
        simple = function.rpartition(".")[2]
        before = [line.replace(f"{mangled}__mutmut_orig", simple) for line in texts[f"{mangled}__mutmut_orig"]]
        after = [line.replace(name, simple) for line in texts[name]]
        diff = list(difflib.unified_diff(before, after, lineterm=""))[2:]
        changed = "\n".join(line[0] + line[1:].strip() for line in diff if line[0] in "+-")
        lines = f"{module}.{function} {hashlib.sha256(changed.encode()).hexdigest()[:12]}"
        alike[lines] += 1
        mutants.append(Mutant(f"{module}.{name}", f"{lines} {alike[lines]}", folder, "\n".join(diff)))
    return mutants


def draw(mutants: Iterable[Mutant], seed: int, size: int) -> list[str]:
    """Draw the identities of a sample, the same share from each folder.

    Each mutant has a rank of its own, so that a change of the code replaces only the mutants that it removes or ranks
    behind new ones.
    """

    def rank(identity: str) -> bytes:
        return hashlib.sha256(f"{seed} {identity}".encode()).digest()

    by_folder: dict[str, list[str]] = {}
    for mutant in mutants:
        by_folder.setdefault(mutant.folder, []).append(mutant.identity)
    share = size // len(by_folder)
    return sorted(identity for known in by_folder.values() for identity in sorted(known, key=rank)[:share])
