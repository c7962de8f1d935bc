"""GPUs that a machine has, beside those that a build of llama.cpp computes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import CPU, build, machine

from lmlab.lab.doctor.graphics import Gpu, check, gpus
from lmlab.worker.examining.messages import ComputeDevice

SMI = {"nvidia-smi": "NVIDIA H100 80GB HBM3, 81559, 550.54.15\nTesla T4, 15360, 550.54.15\n"}
VULKAN = {
    "vulkaninfo": """==========
VULKANINFO
==========
Devices:
========
GPU0:
\tapiVersion         = 1.3.255
\tvendorID           = 0x8086
\tdeviceType         = PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU
\tdeviceName         = Intel(R) UHD Graphics 620 (KBL GT2)
GPU1:
\tvendorID           = 0x10005
\tdeviceType         = PHYSICAL_DEVICE_TYPE_CPU
\tdeviceName         = llvmpipe (LLVM 15.0.6, 256 bits)
"""
}
RADEON = {
    "sys/class/drm/card0/device/vendor": "0x1002\n",
    "sys/class/drm/card0/device/device": "0x744c\n",
    "sys/class/drm/card0/device/mem_info_vram_total": "25753026560\n",
    "sys/class/drm/card0-DP-1/device/vendor": "0x1002\n",
}


def used(probe: object, **options: object) -> tuple[str, str, str | None]:
    finding = list(check(probe, build(**options)))[-1]  # type: ignore[arg-type]
    return finding.level, finding.text, finding.advice


def test_a_build_without_gpu_support_beside_a_gpu_is_broken_and_says_how_to_mend_it(tmp_path: Path) -> None:
    seen, finding = check(machine(tmp_path, tools=SMI), build())
    assert seen.text == (
        "NVIDIA H100 80GB HBM3 (85.5 GB, driver 550.54.15), NVIDIA Tesla T4 (16.1 GB, driver 550.54.15)"
    )
    assert (finding.section, finding.name, finding.level) == ("GPU", "used", "broken")
    assert finding.text == "none: the build has no GPU support, and NVIDIA H100 80GB HBM3 is idle"
    assert finding.advice == (
        'install the CUDA toolkit, then: CMAKE_ARGS="-DGGML_CUDA=on" '
        "pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python==0.3.36"
    )


def test_the_command_is_one_that_the_readme_names(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[3] / "README.md").read_text(encoding="utf-8")
    for probe in (machine(tmp_path, tools=SMI), machine(tmp_path / "amd", RADEON)):
        advice = used(probe)[2]
        assert advice is not None
        assert advice.partition(": ")[2] in readme
    mac = used(machine(tmp_path, tools={"sysctl": "Apple M3 Pro\n"}, platform="darwin", architecture="arm64"))[2]
    assert mac is not None
    assert mac.partition(": ")[2] in readme


def test_powershell_sets_variables_in_its_own_way(tmp_path: Path) -> None:
    advice = used(machine(tmp_path, tools=SMI, platform="win32"))[2]
    assert advice is not None
    assert '$env:CMAKE_ARGS="-DGGML_CUDA=on"; pip install ' in advice


def test_a_gpu_that_is_used_is_said_with_its_memory(tmp_path: Path) -> None:
    device = ComputeDevice("CUDA0", "NVIDIA H100 80GB HBM3", "gpu", 84_000_000_000, 85_500_000_000)
    level, text, advice = used(machine(tmp_path, tools=SMI), devices=(CPU, device), gpu_offload=True)
    assert (level, advice) == ("ok", None)
    assert text == "NVIDIA H100 80GB HBM3, 84.0 GB of 85.5 GB free"


def test_a_gpu_build_that_finds_no_gpu_is_broken_unless_the_person_hid_it(tmp_path: Path) -> None:
    level, text, advice = used(machine(tmp_path, tools=SMI), gpu_offload=True)
    assert (level, advice) == ("broken", "check the driver of NVIDIA H100 80GB HBM3")
    hidden = machine(tmp_path, tools=SMI, environ={"CUDA_VISIBLE_DEVICES": ""})
    level, text, advice = used(hidden, gpu_offload=True)
    assert (level, advice) == ("warning", "unset CUDA_VISIBLE_DEVICES")
    assert text.endswith("(CUDA_VISIBLE_DEVICES= is set)")


def test_a_gpu_of_the_processor_is_only_a_note(tmp_path: Path) -> None:
    probe = machine(tmp_path, {"sys/class/drm/card0/device/vendor": "0x8086\n"}, VULKAN)
    assert gpus(probe) == (Gpu("intel", "Intel(R) UHD Graphics 620 (KBL GT2)", integrated=True),)
    level, _, advice = used(probe)
    assert level == "note"
    assert advice is not None
    assert "-DGGML_VULKAN=on" in advice


def test_the_bus_is_read_where_no_tool_is_installed(tmp_path: Path) -> None:
    (found,) = gpus(machine(tmp_path, RADEON))
    assert found == Gpu("amd", "AMD GPU (PCI device 0x744c)", 25_753_026_560)
    assert used(machine(tmp_path, RADEON))[0] == "broken"


def test_a_driver_without_its_tool_still_names_the_gpu(tmp_path: Path) -> None:
    probe = machine(
        tmp_path, {"proc/driver/nvidia/gpus/0000:01:00.0/information": "Model: \t GeForce RTX 4090\nIRQ: 1\n"}
    )
    assert gpus(probe) == (Gpu("nvidia", "NVIDIA GeForce RTX 4090"),)


@pytest.mark.parametrize(
    "files", [{}, {"sys/class/drm/card0/device/vendor": "0x1af4\n"}, {"sys/class/drm/card0/device/vendor": ""}]
)
def test_without_a_gpu_nothing_is_wrong(tmp_path: Path, files: dict[str, str]) -> None:
    probe = machine(tmp_path, files)
    assert gpus(probe) == ()
    assert [finding.level for finding in check(probe, build())] == ["ok", "ok"]


def test_when_the_build_is_not_known_the_gpus_still_are(tmp_path: Path) -> None:
    assert [finding.name for finding in check(machine(tmp_path, tools=SMI), None)] == ["seen"]


def test_a_tool_that_says_nonsense_is_not_believed(tmp_path: Path) -> None:
    for said in ("", "No devices were found\n", "a, b\n", "\x1b[31m\n"):
        assert gpus(machine(tmp_path, tools={"nvidia-smi": said})) == ()
    (named,) = gpus(machine(tmp_path, tools={"nvidia-smi": "X\x1b[2J, [N/A], 1\n"}))
    assert "\x1b" not in str(named)
    assert named.memory is None
