"""A reader of syntax trees that finds what the protocol must not contain: whatever could differ between machines."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

ALLOWED_MODULES = {
    "abc", "abci_app", "bech32", "bisect", "collections", "dataclasses", "enum", "functools", "google", "hashlib",
    "itertools", "nacl", "operator", "re", "struct", "typing",
}  # fmt: skip
"""What the protocol may import, by first name: generated messages, signatures, and parts of the library without I/O."""
ALLOWED_PREFIXES = ("abci_app.protocol", "abci_app.pb")
BANNED_CALLS = {
    "hash", "float", "complex", "id", "open", "print", "input", "eval", "exec", "compile", "round", "vars", "dir",
    "globals", "locals", "__import__",
}  # fmt: skip
"""hash() of text depends on PYTHONHASHSEED; id() on memory; round() and float() on floats."""
BANNED_METHODS = {
    "lower", "upper", "casefold", "capitalize", "title", "swapcase", "isalpha", "isalnum", "isdigit", "isdecimal",
    "isnumeric", "isidentifier", "islower", "isupper", "isprintable", "isspace", "istitle", "splitlines", "truediv",
    "as_integer_ratio", "is_integer",
}  # fmt: skip
"""They ask Unicode tables, which differ between versions of Python, or make or take floats."""
SPACE_METHODS = {"strip", "lstrip", "rstrip", "split", "rsplit"}
"""Without an argument they too ask the Unicode tables what a space is."""
SET_MAKERS = {"set", "frozenset"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}
ORDER_TAKERS = {
    "list", "tuple", "iter", "enumerate", "map", "filter", "zip", "next", "dict", "reversed", "str", "repr", "deque",
    "OrderedDict", "chain", "islice", "join", "extend", "fromkeys", "reduce",
}  # fmt: skip
"""Calls that take over the order of what they are given; sorted(), len(), sum(), any(), all(), min(), max() do not."""
TIE_BREAKERS = {"sorted", "min", "max"}
"""With a key they leave ties in the order they found."""


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
        """Refuse true division, and powers that might have a negative exponent."""
        if isinstance(node.op, ast.Div):
            self.add(node, "division /, use //")
        if isinstance(node.op, ast.Pow) and not isinstance(node.right, ast.Constant):
            self.add(node, "power with an exponent that may be negative")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Refuse true division in place."""
        if isinstance(node.op, ast.Div):
            self.add(node, "division /=, use //=")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """Refuse calls whose result differs between processes, and calls that take the order of a set."""
        name = get_name(node.func).lstrip(".")
        takes_set = any(self.is_set(argument) for argument in node.args)
        if isinstance(node.func, ast.Name) and name in BANNED_CALLS:
            self.add(node, f"call of {name}()")
        if isinstance(node.func, ast.Attribute):
            self.check_method(node, node.func, name)
        if takes_set and name in ORDER_TAKERS:
            self.add(node, f"{name}() takes the order of a set")
        if takes_set and name in TIE_BREAKERS and any(keyword.arg == "key" for keyword in node.keywords):
            self.add(node, f"{name}() with a key leaves ties in the order of a set")
        self.generic_visit(node)

    def check_method(self, node: ast.Call, method: ast.Attribute, name: str) -> None:
        """Refuse methods that ask Unicode tables, patterns that do, and taking any element out of a set."""
        if name in BANNED_METHODS or (name in SPACE_METHODS and not node.args):
            self.add(node, f"call of .{name}()")
        if name == "pop" and self.is_set(method.value):
            self.add(node, "pop() takes the order of a set")
        if get_name(method.value) == "re" and node.args and isinstance(node.args[0], ast.Constant):
            pattern = node.args[0].value
            if isinstance(pattern, str) and any(mark in pattern for mark in ("\\d", "\\w", "\\s", "\\b", "(?i")):
                self.add(node, "pattern that asks Unicode tables")

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        """Refuse sets in texts, whose order they show."""
        self.check_iterated(node.value)
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """Refuse the text of somebody else's exception, which differs between versions of libraries."""
        for inner in ast.walk(node):
            shown = [inner.value] if isinstance(inner, ast.FormattedValue) else []
            if isinstance(inner, ast.Call) and get_name(inner.func) in ("str", "repr"):
                shown = inner.args
            if node.name and any(get_name(value) == node.name for value in shown):
                self.add(inner, "text of an exception")
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Refuse containers of sets, whose elements this reader would not recognise as sets."""
        inner = [part for part in ast.walk(node.annotation) if isinstance(part, ast.Subscript)]
        if any(
            is_set_type(part) for outer in inner for part in ast.walk(outer.slice) if isinstance(part, ast.Subscript)
        ):
            self.add(node, "container of sets")
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
            name = get_name(node.func)
            is_method = isinstance(node.func, ast.Attribute) and node.func.attr in SET_METHODS
            return is_method or name in SET_MAKERS or f"{name.lstrip('.')}()" in self.sets
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr | ast.BitAnd | ast.Sub | ast.BitXor):
            return any(self.is_set(side) or is_view(side) for side in (node.left, node.right))
        if isinstance(node, ast.IfExp):
            return self.is_set(node.body) or self.is_set(node.orelse)
        if isinstance(node, ast.NamedExpr):
            return self.is_set(node.value)
        return get_name(node) in self.sets


def get_name(node: ast.AST) -> str:
    """Return `x` for a name and `.x` for an attribute; empty for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    return f".{node.attr}" if isinstance(node, ast.Attribute) else ""


def is_view(node: ast.expr) -> bool:
    """Tell whether this is a call of .keys() or .items(): operators make sets of what these return."""
    return isinstance(node, ast.Call) and get_name(node.func) in (".keys", ".items")


def find_set_names(tree: ast.AST, finder: Finder) -> set[str]:
    """Return the names of a module that are annotated as sets or assigned one; functions that return one with `()`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg) and node.annotation is not None and is_set_type(node.annotation):
            names.add(node.arg)
        elif isinstance(node, ast.AnnAssign):
            if is_set_type(node.annotation) or (node.value is not None and finder.is_set(node.value)):
                names.add(get_name(node.target))
        elif isinstance(node, ast.FunctionDef) and node.returns is not None and is_set_type(node.returns):
            names.add(f"{node.name}()")
        elif isinstance(node, ast.Assign) and finder.is_set(node.value):
            names |= {get_name(target) for target in node.targets}
        elif isinstance(node, ast.NamedExpr) and finder.is_set(node.value):
            names.add(node.target.id)
    bare = {name.lstrip(".") for name in names} - {""}
    return bare | {f".{name}" for name in bare}


def is_set_type(annotation: ast.expr) -> bool:
    """Tell whether an annotation is set[...], frozenset[...] or one of them or None."""
    if isinstance(annotation, ast.BinOp):
        return is_set_type(annotation.left) or is_set_type(annotation.right)
    outer = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    return get_name(outer) in {"set", "frozenset", "Set", "AbstractSet"}


def find_sets(source: str) -> set[str]:
    """Return the names of a module that stand for sets, for the modules that use them."""
    return find_set_names(ast.parse(source), Finder())


def find_impurities(source: str, known_sets: Iterable[str] = ()) -> Iterator[tuple[int, str]]:
    """Yield (line, what) for everything in a module of the protocol that does not belong there."""
    tree = ast.parse(source)
    finder = Finder(sets=set(known_sets))
    finder.sets |= find_set_names(tree, finder)
    finder.visit(tree)
    yield from sorted(finder.findings)
