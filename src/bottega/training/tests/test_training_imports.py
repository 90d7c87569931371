from __future__ import annotations

import subprocess
import sys


def test_to_run_a_system_nothing_of_many_processes_is_imported() -> None:
    """It would double a cold start: DTensor brings sympy."""
    code = (
        "import sys, bottega.training; names = ('torch.distributed.tensor', 'torch.distributed.fsdp', 'sympy'); "
        "print([name for name in names if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
