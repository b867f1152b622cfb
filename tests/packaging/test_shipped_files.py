import configparser
from pathlib import Path

import pytest

from medfs.errors import UsageError
from medfs.io.bundles import bundle_names, find_bundle

ROOT = Path(__file__).parents[2]
FOLDERS = {"medfs.bundles": ROOT / "bundles"}


def package_data():
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    for package, patterns in settings["options.package_data"].items():
        folder = FOLDERS.get(package, ROOT.joinpath(*package.split(".")))
        yield from ((folder, pattern.strip()) for pattern in patterns.split(","))


@pytest.mark.parametrize(("folder", "pattern"), package_data())
def test_every_pattern_of_package_data_names_a_file(folder, pattern):
    assert any(path.is_file() for path in folder.glob(pattern))


def test_every_data_file_of_the_package_ships():
    shipped = {path for folder, pattern in package_data() for path in folder.glob(pattern)}
    present = {path for name in ("medfs", "bundles") for path in (ROOT / name).rglob("*") if path.is_file()}
    built = {path for path in present if path.suffix in {".py", ".pyc", ".so", ".pyd"}}
    assert present - built == {path for path in shipped if path.is_file()}


def test_bundles_are_found_from_a_checkout_and_from_an_editable_installation():
    assert bundle_names() == tuple(sorted(path.name for path in (ROOT / "bundles").iterdir()))
    for name in bundle_names():
        assert find_bundle(name).samefile(ROOT / "bundles" / name)


def test_an_unknown_bundle_is_answered_with_those_there_are():
    with pytest.raises(UsageError, match=r"^no bundle 'liver'; medfs has .*multi_organ_tak_segmentation"):
        find_bundle("liver")
