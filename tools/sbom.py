"""The wheel's bill of materials, made while it is built (PEP 770; CycloneDX 1.6 as JSON).

It lists what is inside (the package, the bundled weights with a hash of each file) and what is
needed beside it (the declared dependencies). The same sources give the same bytes: no time, and a
serial number made of the contents.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FILE = "coser-cli.cdx.json"
NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "coser-cli.sbom")
_NAME = re.compile(r"([A-Za-z0-9][\w.-]*)(\[[^]]*\])?(.*)")


def bill_of_materials(
    root: Path, version: str, required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, Any]:
    """The document for the sources below `root`; `required` and `optional` are requirements."""
    package = f"pkg:pypi/coser-cli@{version}"
    weights = [_weights(folder) for folder in sorted((root / "coser_cli/assets").glob("*/"))]
    weights = [component for component in weights if component["components"]]
    libraries = _libraries(required, "required")
    names = {library["name"] for library in libraries}
    libraries += [each for each in _libraries(optional, "optional") if each["name"] not in names]
    document: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": package,
                "name": "coser-cli",
                "version": version,
                "purl": package,
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": [*weights, *libraries],
        "dependencies": [
            {
                "ref": package,
                "dependsOn": [
                    each["bom-ref"]
                    for each in (*weights, *libraries)
                    if each.get("scope") != "optional"
                ],
            }
        ],
    }
    serial = uuid.uuid5(NAMESPACE, json.dumps(document, sort_keys=True))
    return {"serialNumber": f"urn:uuid:{serial}"} | document


def _weights(folder: Path) -> dict[str, Any]:
    """One bundled model: its files with their hashes."""
    return {
        "type": "machine-learning-model",
        "bom-ref": f"weights:{folder.name}",
        "name": folder.name,
        "description": "Weights that come with the package; see LICENSE-WEIGHTS and NOTICE",
        "licenses": [{"license": {"id": "MIT"}}],
        "components": [
            {
                "type": "file",
                "name": f"coser_cli/assets/{folder.name}/{file.relative_to(folder).as_posix()}",
                "hashes": [
                    {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}
                ],
            }
            for file in sorted(folder.rglob("*.safetensors"))
        ],
    }


def _libraries(requirements: Sequence[str], scope: str) -> list[dict[str, Any]]:
    """Each required package once, by name; the versions that are allowed as a property."""
    libraries: dict[str, dict[str, Any]] = {}
    for requirement in sorted(requirements):
        match = _NAME.match(requirement)
        if match is None:
            raise ValueError(f"not a requirement: {requirement!r}")
        name = re.sub(r"[-_.]+", "-", match[1]).lower()
        if name == "coser-cli":  # an extra that takes up others
            continue
        libraries[name] = {
            "type": "library",
            "bom-ref": f"pkg:pypi/{name}",
            "name": name,
            "purl": f"pkg:pypi/{name}",
            "scope": scope,
            "properties": [{"name": "coser:requirement", "value": requirement}],
        }
    return list(libraries.values())


class SbomHook(BuildHookInterface):  # type: ignore[type-arg]
    """Hands the document to hatchling, which puts it into `.dist-info/sboms/`."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the document where the builder finds it."""
        metadata = self.metadata.core
        optional = [each for extra in metadata.optional_dependencies.values() for each in extra]
        document = bill_of_materials(
            Path(self.root), self.metadata.version, metadata.dependencies, optional
        )
        self._folder = Path(tempfile.mkdtemp())
        file = self._folder / FILE
        file.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        build_data["sbom_files"].append(str(file))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete what only the builder needed."""
        shutil.rmtree(self._folder, ignore_errors=True)
