"""Where the bundles are: inside an installed package, beside it in a checkout."""

from importlib import resources
from pathlib import Path

from medfs.errors import UsageError


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles that come with medfs, sorted."""
    return tuple(sorted(path.name for path in _folder().iterdir() if (path / "configs" / "metadata.json").is_file()))


def find_bundle(name: str) -> Path:
    """Folder of a bundle that comes with medfs.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in bundle_names():
        raise UsageError(f"no bundle {name!r}; medfs has {', '.join(bundle_names())}")
    return _folder() / name


def _folder() -> Path:
    package = Path(str(resources.files("medfs")))
    for folder in (package / "bundles", package.parent / "bundles"):
        if folder.is_dir():
            return folder
    raise UsageError(f"{package}: the bundles are missing; install medfs again")
