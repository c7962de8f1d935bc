"""Build what lmlab is compared with: llama-server, llama-bench and llama-batched-bench.

    python benchmarks/build_llama_tools.py [FOLDER] [--archive FILE] [--jobs N]

They come from the llama.cpp inside the source archive of the llama-cpp-python release that is installed here, with the
CPU flags that it builds with, so both sides run the same code. Needs a C++ compiler, cmake and pip; some ten minutes.
FOLDER is benchmarks/.tools by default; a second run goes on where the first one ended.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import tarfile
from pathlib import Path

PACKAGE = "llama-cpp-python"
TARGETS = ("llama-server", "llama-bench", "llama-batched-bench")
OPTIONS = (
    "-DCMAKE_BUILD_TYPE=Release",
    "-DGGML_NATIVE=ON",
    "-DLLAMA_CURL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    # No pages for a browser: they would be fetched from the network.
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
)


def run(*command: str | os.PathLike[str]) -> None:
    print("+", *command, flush=True)
    if code := subprocess.run(command, check=False).returncode:
        raise SystemExit(f"{Path(command[0]).name} ended with code {code}; its last lines above say why")


def fetch(version: str, folder: Path) -> Path:
    """Return the source archive of ``version`` in ``folder``, downloaded unless it is there."""
    archive = folder / f"llama_cpp_python-{version}.tar.gz"
    if not archive.exists():
        pip = (sys.executable, "-m", "pip", "download", "--no-binary", ":all:", "--no-deps")
        run(*pip, f"{PACKAGE}=={version}", "--dest", folder)
    if not archive.exists():
        raise SystemExit(f"pip did not leave {archive.name} in {folder}: download it and name it with --archive")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Return the llama.cpp inside ``archive``, unpacked below ``folder`` unless it is there."""
    source = folder / archive.name.removesuffix(".tar.gz") / "vendor" / "llama.cpp"
    complete = folder / ".unpacked"
    if not complete.exists():
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        complete.touch()
    if not (source / "CMakeLists.txt").exists():
        raise SystemExit(f"{archive} holds no vendor/llama.cpp: it is not a source archive of {PACKAGE}")
    return source


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).with_name(".tools"))
    parser.add_argument("--archive", type=Path, help="the source archive, if it is here already")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # What is built here belongs in no repository.
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    archive = arguments.archive or fetch(importlib.metadata.version(PACKAGE), folder)
    source = unpack(archive, folder)
    build = folder / "build"
    run("cmake", "-S", source, "-B", build, *OPTIONS)
    run("cmake", "--build", build, "--config", "Release", "--parallel", str(arguments.jobs), "--target", *TARGETS)
    print(f"the tools are in {build / 'bin'}: {', '.join(TARGETS)}")


if __name__ == "__main__":
    main()
