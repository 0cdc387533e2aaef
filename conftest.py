"""What every run of pytest shares, also one of the notebooks alone, which reads no tests/conftest.py."""

import os

# Before anything imports torch or the hub's client; the kernels of the notebook tests inherit all of it.
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two test processes on two cores: more threads would only wait
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HTTP_PROXY"] = os.environ["HTTPS_PROXY"] = "http://127.0.0.1:9"  # a port where nothing answers


def pytest_configure(config):
    """Find nbval's file from any folder; pyproject.toml names it as seen from this one."""
    if name := config.getoption("nbval_sanitize_with", None):
        config.option.nbval_sanitize_with = str(config.rootpath / name)
