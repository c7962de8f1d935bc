"""The processor's instructions beside those of the build, and how many of its cores a container may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from machines import build, machine

from lmlab.lab.doctor.finding import Finding
from lmlab.lab.doctor.processor import check, cpu_limit, instructions

FLAGS = "fpu pni ssse3 fma avx f16c avx2 bmi2"
ALL = ("SSE3", "SSSE3", "AVX", "AVX2", "F16C", "FMA", "BMI2")
WIDE = "avx512f avx512cd avx512vl avx512dq avx512bw"


def found(name: str, *features: str, cpuinfo: str, root: Path, **options: object) -> Finding:
    probe = machine(root, {"proc/cpuinfo": cpuinfo})
    findings = {finding.name: finding for finding in check(probe, build(*features, **options))}  # type: ignore[arg-type]
    return findings[name]


def test_a_build_that_uses_all_is_well(tmp_path: Path) -> None:
    finding = found("instructions", *ALL, "OPENMP", cpuinfo=f"flags\t\t: {FLAGS}\n", root=tmp_path)
    assert (finding.level, finding.advice) == ("ok", None)
    assert finding.text.endswith("BMI2, OPENMP: all that the processor has")


def test_instructions_that_lie_idle_are_named_with_the_command_that_uses_them(tmp_path: Path) -> None:
    finding = found("instructions", *ALL, cpuinfo=f"flags : {FLAGS} {WIDE}\n", root=tmp_path)
    assert (finding.level, finding.text.rpartition(", and not ")[2]) == ("note", "AVX512, which the processor has")
    assert finding.advice is not None
    assert finding.advice.endswith("pip install --force-reinstall --no-cache-dir --no-deps llama-cpp-python==0.3.36")
    slow = found("instructions", "SSE3", cpuinfo=f"flags : {FLAGS}\n", root=tmp_path)
    assert slow.level == "warning"


def test_half_of_a_set_is_not_the_set(tmp_path: Path) -> None:
    finding = found("instructions", *ALL, cpuinfo=f"flags : {FLAGS} avx512f\n", root=tmp_path)
    assert finding.level == "ok"


def test_instructions_that_the_processor_lacks_are_a_warning(tmp_path: Path) -> None:
    finding = found("instructions", *ALL, "AVX512", cpuinfo=f"flags : {FLAGS}\n", root=tmp_path)
    assert finding.level == "warning"
    assert "does not have AVX512, so the engine may crash" in finding.text


def test_arm_is_read_too(tmp_path: Path) -> None:
    probe = machine(tmp_path, {"proc/cpuinfo": "processor: 0\nFeatures\t: fp asimd asimddp\n"}, architecture="aarch64")
    known = instructions(probe)
    assert known is not None
    assert {feature for feature, there in known.items() if there} == {"NEON", "DOTPROD"}
    assert known["SVE"] is False


def test_apple_is_asked_by_its_tool_and_only_what_it_says_counts(tmp_path: Path) -> None:
    said = {"sysctl": "hw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_DotProd: 1\nhw.optional.arm.FEAT_SME: 0\n"}
    probe = machine(tmp_path, tools=said, platform="darwin", architecture="arm64")
    assert instructions(probe) == {"NEON": True, "DOTPROD": True, "SME": False}


def test_where_nothing_is_told_nothing_is_wrong(tmp_path: Path) -> None:
    finding = found("instructions", "AVX2", cpuinfo="", root=tmp_path)
    assert (finding.level, finding.text) == ("ok", "the build uses AVX2; the processor's are not known here")


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/pod\n", "sys/fs/cgroup/pod/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/pod/in\n", "sys/fs/cgroup/pod/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker\n",
                "sys/fs/cgroup/cpu/docker/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/docker/cpu.cfs_period_us": "100000",
            },
            2.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            None,
        ),
        ({}, None),
    ],
)
def test_what_a_container_may_use_is_read(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    machine(tmp_path, files)
    assert cpu_limit(tmp_path) == limit


def test_more_threads_than_the_container_may_use_are_a_warning(tmp_path: Path) -> None:
    machine(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"})
    finding = found("cores", cpuinfo="", root=tmp_path, threads=4)
    assert finding.level == "warning"
    assert "the container may use 1.5 processors" in finding.text
    assert finding.advice == "set LMLAB_THREADS=1, or give the container more"
    assert found("cores", cpuinfo="", root=tmp_path, threads=1).level == "ok"
