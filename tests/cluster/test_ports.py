import socket

import pytest

from app.errors import ClusterError, PortInUse
from cluster.ports import check_port_free, free_port, free_serve_ports


def test_a_taken_port_is_named_with_the_option_to_change() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortInUse, match=rf"^port {port} is in use; choose another with --port$"):
            check_port_free("127.0.0.1", port)
        with pytest.raises(PortInUse, match="--dashboard-port"):
            check_port_free("127.0.0.1", port, option="--dashboard-port")


def test_a_free_port_passes() -> None:
    check_port_free("127.0.0.1", free_port())


def test_an_address_of_another_machine_is_one_clear_line() -> None:
    with pytest.raises(ClusterError, match=r"cannot listen on 192\.0\.2\.77:8000"):
        check_port_free("192.0.2.77", 8000)


def test_a_block_in_which_somebody_listens_is_passed_over() -> None:
    first = free_serve_ports()
    with socket.create_server(("0.0.0.0", first.metrics)):
        assert free_serve_ports().base != first.base


def test_the_ports_of_a_block_do_not_overlap() -> None:
    ports = free_serve_ports()
    single = [ports.stats, ports.metrics, ports.fallback_http, ports.fallback_grpc]
    everything = [*ports.http, *ports.grpc, *single]
    assert len(set(everything)) == len(everything)
