"""From the core's definitions to the two faces.

The core's files are read as text and as syntax trees: signatures and docstrings are copied as they stand, only the
annotation of what comes back differs.  Four shapes are known, and anything else is an error here:

- a method that returns ``Call[T]`` becomes one that returns ``T``,
- a method that returns ``StreamCall[E, R]`` becomes one that returns ``Stream[E, R]`` or ``AsyncStream[E, R]``,
- a method that returns ``ItemsCall[E]`` becomes one that returns ``Items[E]`` or ``AsyncItems[E]``,
- a cached property that returns a resource becomes the same of the face's resource.

``**options: Unpack[RequestOptions]`` is spelled out, in the signature and in the docstring, so that every editor shows
the keywords.  `BatchLines` may be a file here, which the core could not open.
"""

from __future__ import annotations

import ast
import pathlib
import re
import textwrap
from dataclasses import dataclass
from typing import Dict, Iterator, List, Optional, Set, Tuple

import meshapi_core

__all__ = ["faces"]

_CORE = pathlib.Path(meshapi_core.__file__).parent
# In a docstring, what stands for all options.
_OPTIONS_LINE = re.compile(r"^    \*\*options: .*\n", re.MULTILINE)
# What a client takes beyond what the core can: the type, and the function that makes the core's of it.
_SOURCES = {"BatchLines": ("BatchSource", "lines_of")}
_HEADER = '''"""{summary}"""

# Written by `python -m meshapi_transports._faces` from {source}.  Do not edit: change the source, run the tool.

from __future__ import annotations
'''


@dataclass(frozen=True)
class _Colour:
    """What differs between the two faces."""

    folder: str
    define: str
    perform: str
    prefix: str
    transport: str
    client: str
    summary: str


_COLOURS = (
    _Colour("_sync", "def", "return perform", "", "Transport", "MeshAPI", "for blocking code"),
    _Colour("_async", "async def", "return await perform", "Async", "AsyncTransport", "AsyncMeshAPI", "for coroutines"),
)


def faces() -> Dict[str, str]:
    """The text of each file of the faces, by its path below this folder."""
    files: Dict[str, str] = {}
    for colour in _COLOURS:
        files[f"{colour.folder}/__init__.py"] = f'"""The client {colour.summary}."""\n'
        files[f"{colour.folder}/client.py"] = _client(colour)
        for path in sorted((_CORE / "resources").glob("[a-z]*.py")):
            files[f"{colour.folder}/{path.name}"] = _resources(path, colour)
    return files


class _Module:
    """One of the core's files, with what is needed to copy from it."""

    def __init__(self, path: pathlib.Path) -> None:
        self.source = path.relative_to(_CORE.parent).as_posix()
        self.text = path.read_text("utf-8")
        self.tree = ast.parse(self.text)
        package = ".".join(path.relative_to(_CORE.parent).with_suffix("").parts[:-1])
        self.name = f"{package}.{path.stem}"
        self.imports = {
            alias.asname or alias.name: _absolute(node, package)
            for node in ast.walk(self.tree)
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }
        self.classes = [
            node for node in self.tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]
        self.imports.update({cls.name: self.name for cls in self.classes})
        self.type_variables = {
            node.targets[0].id: self.segment(node)
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Name)
            and node.value.func.id == "TypeVar"
        }

    def classes_named(self, name: str) -> List[ast.ClassDef]:
        """The class of that name, if there is one."""
        return [cls for cls in self.classes if cls.name == name]

    def segment(self, node: ast.AST) -> str:
        """The source text of `node`."""
        text = ast.get_source_segment(self.text, node)
        assert text is not None, f"{self.source} has no text for {ast.dump(node)}"
        return text


def _absolute(node: ast.ImportFrom, package: str) -> str:
    parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*parents, *([node.module] if node.module else [])])


class _Face:
    """The text of one file of a face, under construction."""

    def __init__(self, module: _Module, colour: _Colour) -> None:
        self.module = module
        self.colour = colour
        self._imports: Dict[str, Set[str]] = {}
        self._typing_imports: Dict[str, Set[str]] = {}
        self._definitions: Dict[str, str] = {}
        self._parts: List[str] = []

    def use(self, source: str, name: str) -> None:
        """Import `name` from `source`, for running."""
        self._imports.setdefault(source, set()).add(name)

    def use_type(self, source: str, name: str) -> None:
        """Import `name` from `source`, for type checkers."""
        self._typing_imports.setdefault(source, set()).add(name)

    def annotation(self, node: ast.expr, module: _Module) -> str:
        """The text of an annotation, whose names are imported."""
        for name in ast.walk(node):
            if isinstance(name, ast.Name) and name.id in module.imports:
                self.use_type(module.imports[name.id], name.id)
            elif isinstance(name, ast.Name) and name.id in module.type_variables:
                self.use(module.imports["TypeVar"], "TypeVar")
                self.use("typing", "Any")
                self._definitions[name.id] = f"\n{module.type_variables[name.id]}\n"
        return module.segment(node)

    def add(self, text: str, depth: int = 0) -> None:
        """Append `text`, indented by `depth` levels."""
        self._parts.append(textwrap.indent(text, "    " * depth))

    def text(self) -> str:
        """The whole file."""
        summary = ast.get_docstring(self.module.tree)
        assert summary is not None, f"{self.module.source} has no docstring"
        header = _HEADER.format(
            summary=f"{summary.splitlines()[0]}  The face {self.colour.summary}.", source=self.module.source
        )
        self.use("typing", "TYPE_CHECKING")
        for name in self._typing_imports.pop("typing", set()):
            self.use("typing", name)
        imports = [_import_lines(self._imports)]
        if self._typing_imports:
            imports.append("if TYPE_CHECKING:\n" + textwrap.indent(_import_lines(self._typing_imports), "    "))
        return "\n".join([header, *imports]) + "".join([*self._definitions.values(), *self._parts])


def _import_lines(imports: Dict[str, Set[str]]) -> str:
    def key(source: str) -> Tuple[bool, bool, str]:
        return source.startswith("."), source.startswith("meshapi_core"), source

    lines = [f"from {source} import {', '.join(sorted(imports[source]))}\n" for source in sorted(imports, key=key)]
    return "".join(lines)


def _resources(path: pathlib.Path, colour: _Colour) -> str:
    module = _Module(path)
    face = _Face(module, colour)
    face.use(f"..._{colour.folder[1:]}", colour.transport)
    for cls in module.classes:
        face.add(f'\n\nclass {cls.name}:\n    """{ast.get_docstring(cls)}"""\n')
        face.use_type(module.name.rpartition(".")[0], f"{path.stem} as core")
        face.add(
            f"\ndef __init__(self, core: core.{cls.name}, transport: {colour.transport}) -> None:\n"
            "    self._core = core\n"
            "    self._transport = transport\n",
            depth=1,
        )
        for method in _public_methods(cls):
            if _is_property(method):
                _add_property(face, method, f"return {_result(method)}(self._core.{method.name}, self._transport)")
            else:
                _add_method(face, method)
    return face.text()


def _client(colour: _Colour) -> str:
    module = _Module(_CORE / "client.py")
    face = _Face(module, colour)
    face.use(f"..._{colour.folder[1:]}", f"Base{colour.client}")
    (cls,) = module.classes
    face.add(f'\n\nclass {colour.client}(Base{colour.client}):\n    """The client {colour.summary}."""\n')
    for method in _public_methods(cls):
        name = _result(method)
        source = f".{module.imports[name].rpartition('.')[2]}"
        face.use_type(source, name)
        body = f"from {source} import {name}\n\nreturn {name}(self._core.{method.name}, self._transport)"
        _add_property(face, method, body)
    return face.text()


def _public_methods(cls: ast.ClassDef) -> Iterator[ast.FunctionDef]:
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            yield node


def _is_property(method: ast.FunctionDef) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "cached_property" for node in method.decorator_list)


def _result(method: ast.FunctionDef) -> str:
    assert isinstance(method.returns, ast.Name), f"{method.name} must return a resource"
    return method.returns.id


def _docstring(face: _Face, method: ast.FunctionDef) -> str:
    first = method.body[0]
    assert ast.get_docstring(method), f"{face.module.source}: {method.name} has no docstring"
    # As it stands in the source, but for the indentation that the face gives all lines.
    text = textwrap.dedent(" " * first.col_offset + face.module.segment(first))
    return _OPTIONS_LINE.sub(lambda _: _options_told(text), text)


def _options_told(docstring: str) -> str:
    """What RequestOptions tells of each option, but for those that `docstring` tells of itself."""
    (cls,) = _Module(_CORE / "config.py").classes_named("RequestOptions")
    told = (ast.get_docstring(cls) or "").partition("Keys:\n")[2]
    entries = re.findall(r"^    \w+: .*\n?(?:     .*\n?)*", told, re.MULTILINE)
    own = set(re.findall(r"^    (\w+): ", docstring, re.MULTILINE))
    return "".join(f"{entry.rstrip()}\n" for entry in entries if entry.split(":")[0].strip() not in own)


def _add_property(face: _Face, method: ast.FunctionDef, body: str) -> None:
    face.use("functools", "cached_property")
    face.add(f"\n@cached_property\ndef {method.name}(self) -> {_result(method)}:\n", depth=1)
    face.add(f"{_docstring(face, method)}\n{body}\n", depth=2)


def _add_method(face: _Face, method: ast.FunctionDef) -> None:
    colour = face.colour
    returns = method.returns
    shape = returns.value.id if isinstance(returns, ast.Subscript) and isinstance(returns.value, ast.Name) else None
    assert shape in ("Call", "ItemsCall", "StreamCall"), (
        f"{method.name} must return a Call, an ItemsCall or a StreamCall"
    )
    assert isinstance(returns, ast.Subscript)
    value = face.annotation(returns.slice, face.module)
    if shape == "Call":
        define, result, opener = colour.define, value, colour.perform
    else:
        name = colour.prefix + shape[: -len("Call")]
        define, result, opener = "def", f"{name}[{value}]", f"return {name}"
    face.use(f"..._{colour.folder[1:]}", opener.split()[-1])
    signature, arguments = _parameters(face, method)
    face.add(f"\n{define} {method.name}(\n    self,\n{signature}) -> {result}:\n", depth=1)
    face.add(f"{_docstring(face, method)}\n", depth=2)
    face.add(f"{opener}(\n    self._transport,\n    self._core.{method.name}(\n{arguments}    ),\n)\n", depth=2)


def _parameters(face: _Face, method: ast.FunctionDef) -> Tuple[str, str]:
    """The parameters but self, a line each, and the arguments that pass them on."""
    specification = method.args
    signature: List[str] = []
    arguments: List[str] = []
    for parameter, default in zip(specification.args[1:], _defaults(specification)):
        signature.append(_parameter(face, parameter, default, face.module))
        arguments.append(_argument(face, parameter))
    keywords = [(parameter, default, face.module) for parameter, default in _keywords(specification)]
    if specification.kwarg is not None:
        config = _Module(_CORE / "config.py")
        keywords += [(parameter, ast.Constant(None), config) for parameter in _options(config)]
    if keywords:
        signature.append("*")
    for parameter, default, module in keywords:
        signature.append(_parameter(face, parameter, default, module))
        arguments.append(f"{parameter.arg}={parameter.arg}")
    return "".join(f"    {line},\n" for line in signature), "".join(f"        {line},\n" for line in arguments)


def _defaults(specification: ast.arguments) -> List[Optional[ast.expr]]:
    required: List[Optional[ast.expr]] = [None] * (len(specification.args) - len(specification.defaults))
    return [*required, *specification.defaults][1:]


def _keywords(specification: ast.arguments) -> Iterator[Tuple[ast.arg, Optional[ast.expr]]]:
    return zip(specification.kwonlyargs, specification.kw_defaults)


def _options(config: _Module) -> Iterator[ast.arg]:
    """The keys of RequestOptions as parameters."""
    (cls,) = config.classes_named("RequestOptions")
    for node in cls.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield ast.arg(arg=node.target.id, annotation=node.annotation)


def _parameter(face: _Face, parameter: ast.arg, default: Optional[ast.expr], module: _Module) -> str:
    assert parameter.annotation is not None, f"{face.module.source}: {parameter.arg} has no annotation"
    source = _source_of(parameter)
    if source is not None:
        face.use_type("..._files", source[0])
        return f"{parameter.arg}: {source[0]}"
    text = f"{parameter.arg}: {face.annotation(parameter.annotation, module)}"
    return text if default is None else f"{text} = {ast.unparse(default)}"


def _argument(face: _Face, parameter: ast.arg) -> str:
    source = _source_of(parameter)
    if source is None:
        return parameter.arg
    face.use("..._files", source[1])
    return f"{source[1]}({parameter.arg})"


def _source_of(parameter: ast.arg) -> Optional[Tuple[str, str]]:
    return _SOURCES.get(parameter.annotation.id) if isinstance(parameter.annotation, ast.Name) else None
