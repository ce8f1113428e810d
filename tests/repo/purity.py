"""A reader of syntax trees that finds what the protocol must not contain: whatever could differ between machines."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

ALLOWED_MODULES = {
    "abc", "abci_app", "bech32", "bisect", "collections", "dataclasses", "enum", "functools", "google", "hashlib",
    "heapq", "itertools", "json", "nacl", "operator", "re", "struct", "types", "typing",
}  # fmt: skip
"""What the protocol may import, by first name: generated messages, signatures, and parts of the library without I/O."""
ALLOWED_PREFIXES = ("abci_app.protocol", "abci_app.pb")
BANNED_CALLS = {"hash", "float", "id", "open", "print", "input", "eval", "exec", "round"}
"""hash() of text depends on PYTHONHASHSEED; id() on memory; round() and float() on floats."""
SET_MAKERS = {"set", "frozenset"}
ORDER_TAKERS = {"list", "tuple", "iter", "enumerate", "map", "filter", "zip", "next", "dict", "reversed"}
"""Calls that take over the order of what they are given; sorted(), len(), sum(), any(), all(), min(), max() do not."""


@dataclass(slots=True)
class Finder(ast.NodeVisitor):
    """Collects findings as (line, text)."""

    findings: list[tuple[int, str]] = field(default_factory=list)
    sets: set[str] = field(default_factory=set)

    def add(self, node: ast.AST, text: str) -> None:
        """Remember one finding."""
        self.findings.append((getattr(node, "lineno", 0), text))

    def visit_Constant(self, node: ast.Constant) -> None:
        """Refuse float and complex literals."""
        if isinstance(node.value, float | complex):
            self.add(node, f"float literal {node.value}")

    def visit_BinOp(self, node: ast.BinOp) -> None:
        """Refuse true division."""
        if isinstance(node.op, ast.Div):
            self.add(node, "division /, use //")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Refuse true division in place."""
        if isinstance(node.op, ast.Div):
            self.add(node, "division /=, use //=")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Refuse calls whose result differs between processes, and calls that take the order of a set."""
        if isinstance(node.func, ast.Name):
            if node.func.id in BANNED_CALLS:
                self.add(node, f"call of {node.func.id}()")
            if node.func.id in ORDER_TAKERS and any(self.is_set(argument) for argument in node.args):
                self.add(node, f"{node.func.id}() takes the order of a set")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "join" and any(map(self.is_set, node.args)):
            self.add(node, "join() takes the order of a set")
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        """Refuse loops over sets."""
        self.check_iterated(node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Refuse comprehensions over sets."""
        self.check_iterated(node.iter)
        self.generic_visit(node)

    def visit_Starred(self, node: ast.Starred) -> None:
        """Refuse unpacking of sets."""
        self.check_iterated(node.value)
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """Check plain imports."""
        for alias in node.names:
            self.check_module(node, alias.name)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Check from-imports; relative ones stay inside the package."""
        if node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names] if node.module == "abci_app" else []
            for name in names or [str(node.module)]:
                self.check_module(node, name)

    def check_module(self, node: ast.AST, name: str) -> None:
        """Refuse a module that is not on the list."""
        first = name.partition(".")[0]
        if first not in ALLOWED_MODULES or (first == "abci_app" and not name.startswith(ALLOWED_PREFIXES)):
            self.add(node, f"import of {name}")

    def check_iterated(self, node: ast.expr) -> None:
        """Refuse an expression that is known to be a set."""
        if self.is_set(node):
            self.add(node, "iteration over a set, use sorted()")

    def is_set(self, node: ast.expr) -> bool:
        """Tell whether an expression is a set: a display, set(...), an operation on one, or a name bound to one."""
        if isinstance(node, ast.Set | ast.SetComp):
            return True
        if isinstance(node, ast.Call):
            return isinstance(node.func, ast.Name) and node.func.id in SET_MAKERS
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return self.is_set(node.left) or self.is_set(node.right)
        return get_name(node) in self.sets


def get_name(node: ast.AST) -> str:
    """Return `x` for a name and `.x` for an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f".{node.attr}" if isinstance(node, ast.Attribute) else ""


def find_set_names(tree: ast.AST, finder: Finder) -> set[str]:
    """Return the names and attributes of a module that are annotated as sets or assigned one."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign | ast.arg) and node.annotation is not None:
            if is_set_type(node.annotation):
                target = node.arg if isinstance(node, ast.arg) else get_name(node.target)
                names |= {target, f".{target}"}
        elif isinstance(node, ast.Assign) and finder.is_set(node.value):
            names |= {get_name(target) for target in node.targets}
    return names - {""}


def is_set_type(annotation: ast.expr) -> bool:
    """Tell whether an annotation is set[...], frozenset[...] or one of them or None."""
    if isinstance(annotation, ast.BinOp):
        return is_set_type(annotation.left) or is_set_type(annotation.right)
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return get_name(outer) in {"set", "frozenset", "Set", "AbstractSet"}


def find_impurities(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for everything in a module of the protocol that does not belong there."""
    tree = ast.parse(source)
    finder = Finder()
    finder.sets = find_set_names(tree, finder)
    finder.visit(tree)
    yield from sorted(finder.findings)
