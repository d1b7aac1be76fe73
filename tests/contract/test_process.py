"""The process target keeps the contract, with small real workers and a real Envoy."""

from collections.abc import Callable

import pytest

from modeldeploy.model import HttpRequest
from modeldeploy.targets.process import ProcessTarget
from modeldeploy.testing import Place, TargetContract
from process_place import TINY_SUPERVISOR, free_port, spec


@pytest.fixture(scope="class")
def new_place(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Place]:
    def lay_out() -> Place:
        folder = tmp_path_factory.mktemp("place")
        options = {"port": free_port()}

        def open_() -> ProcessTarget:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("MDEPLOY_HOME", str(folder / "home"))
                return ProcessTarget("digits", "local", options, supervisor=TINY_SUPERVISOR)

        return Place(
            open=open_,
            good=spec(folder, "1.0.0"),
            other=spec(folder, "1.1.0", replicas=2),
            slow=spec(folder, "1.2.0", env={"START_DELAY": "1.5"}),
            broken=spec(folder, "1.3.0", env={"EXIT_CODE": "3"}),
            probe=HttpRequest("GET", "/"),
        )

    return lay_out


class TestProcess(TargetContract):
    pass
