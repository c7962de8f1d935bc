from __future__ import annotations

from loaded_models import library

from lmlab.llama.devices import devices, ggml_version


def test_the_processor_is_a_device() -> None:
    library()
    found = devices()
    assert found is not None
    (processor,) = (device for device in found if device.kind == "cpu")
    assert processor.name == "CPU"
    assert processor.description
    assert processor.total > 100_000_000


def test_the_tensor_library_says_its_version() -> None:
    version = ggml_version()
    assert version is not None
    assert version.split(".")[0].isdecimal()
