"""Makes what template.yaml deploys: in build/aws `app`, the polls, and `layer.zip`, the layer with Seawall and Django.

    python deploy/aws/package.py WHEEL

The wheel is Seawall's, for the architecture of the functions. Before it goes into the layer it is checked: its tag, and
every symbol version and library that its shared objects need, against what Amazon Linux 2023 has.
"""

from __future__ import annotations

import argparse
import compileall
import platform
import shutil
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NoReturn

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "aws"

PYTHON = (3, 13)
"""The functions' runtime."""
GLIBC = (2, 34)
"""Amazon Linux 2023's."""
LIBRARIES = {"libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libgcc_s.so.1"}
LIBRARIES |= {"ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}
"""What any wheel may count on; all else must be inside it."""
LIMIT = 250 << 20
"""What Lambda takes, unzipped, for the function and its layers together."""


def main() -> None:
    """Make both, and print how large they are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--architecture", default=platform.machine(), choices=["x86_64", "aarch64"])
    args = parser.parse_args()
    app(BUILD / "app")
    layer(args.wheel, args.architecture, BUILD / "layer")
    pack(BUILD / "layer", BUILD / "layer.zip")


def app(folder: Path) -> None:
    """The example's project, and the handler beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    ignored = shutil.ignore_patterns("__pycache__", "tests.py")
    for package in ("mysite", "polls"):
        shutil.copytree(ROOT / "examples" / "polls" / package, folder / package, ignore=ignored)
    for module in (HERE / "app").glob("*.py"):
        shutil.copy(module, folder)


def layer(wheel: Path, architecture: str, folder: Path) -> None:
    """Install the wheel and requirements.txt as the functions find them: in `python/`."""
    shutil.rmtree(folder, ignore_errors=True)
    target = folder / "python"
    platforms = [f"manylinux_2_{minor}_{architecture}" for minor in range(GLIBC[1], 4, -1)]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    version = ".".join(map(str, PYTHON))
    foreign = ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    foreign += [f"--platform={name}" for name in [*platforms, f"manylinux2014_{architecture}"]]
    # pip refuses a wheel whose tag none of these platforms has. Ours has no hash in a file: it was just built.
    parts: list[list[str | Path]] = [["--require-hashes", "-r", HERE / "requirements.txt"], ["--no-deps", wheel]]
    for part in parts:
        done = subprocess.run([*install, *foreign, f"--target={target}", *part], check=False)
        if done.returncode == 0:
            continue
        fail(f"pip could not install {wheel.name} for Python {version} on {architecture}, glibc {_dotted(GLIBC)}.")
    shutil.rmtree(target / "bin", ignore_errors=True)  # scripts that name this machine's Python
    for library in sorted(target.rglob("*.so*")):
        check(library)
    if sys.version_info[:2] == PYTHON:
        # /opt cannot be written: what is not compiled here would be compiled at every cold start. Never compared with
        # its source, for a zip file keeps no exact times.
        compileall.compile_dir(
            target,
            quiet=1,
            stripdir=str(folder),
            prependdir="/opt",
            invalidation_mode=PycInvalidationMode.UNCHECKED_HASH,
        )
    else:
        print(f"Not compiled to bytecode, because this is not Python {version}. Each cold start will compile it again.")


def check(library: Path) -> None:
    """End here if a shared object needs more than Amazon Linux 2023 has."""
    needed, libraries = glibc_needed(library), libraries_needed(library)
    print(f"{library.name}: needs glibc {_dotted(needed)}; {', '.join(sorted(libraries))}")
    if needed > GLIBC:
        fail(f"{library.name} needs glibc {_dotted(needed)}, but Amazon Linux 2023 has {_dotted(GLIBC)}.")
    if libraries - LIBRARIES:
        fail(f"{library.name} needs {', '.join(libraries - LIBRARIES)}, which Lambda need not have.")


def glibc_needed(library: Path) -> tuple[int, ...]:
    """The highest version of glibc of which it uses a symbol."""
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".gnu.version_r")
        assert section is None or isinstance(section, GNUVerNeedSection)
        names = [version.name for _, versions in (section.iter_versions() if section else ()) for version in versions]
    numbers = [name.removeprefix("GLIBC_") for name in names if name.startswith("GLIBC_")]
    return max((tuple(map(int, number.split("."))) for number in numbers), default=(0,))


def libraries_needed(library: Path) -> set[str]:
    """The other libraries that it is linked to."""
    with library.open("rb") as file:
        section = ELFFile(file).get_section_by_name(".dynamic")
        assert isinstance(section, DynamicSection)
        return {tag.needed for tag in section.iter_tags("DT_NEEDED")}  # type: ignore[attr-defined]


def pack(folder: Path, archive: Path) -> None:
    """Zip a folder, the same bytes for the same content, and print the sizes."""
    sizes: defaultdict[str, int] = defaultdict(int)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(str(path.relative_to(folder)))
            entry.external_attr = (0o755 if path.suffix == ".so" else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, path.read_bytes())
            sizes[path.relative_to(folder / "python").parts[0]] += path.stat().st_size
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:4]:
        print(f"  {name:20} {_mib(size)}")
    total = sum(sizes.values())
    print(
        f"{archive.name}: {_mib(archive.stat().st_size)} zipped, {_mib(total)} unzipped (Lambda's limit: {_mib(LIMIT)})"
    )
    if total > LIMIT:
        fail("That is too large for Lambda.")


def fail(why: str) -> NoReturn:
    """End with the reason."""
    sys.exit(f"*** {why}")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


if __name__ == "__main__":
    main()
