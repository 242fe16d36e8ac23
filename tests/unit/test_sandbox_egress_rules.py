"""The way out as values: which subnet, whose table, what a machine's files say, and what settings may say."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdad import settings
from lambdad.app import egress
from lambdad.sandbox import egress_rules, machine_network

SUBNETS = list(ipaddress.IPv4Network(egress_rules.DEFAULT_RANGE).subnets(new_prefix=egress_rules.SUBNET_PREFIX))


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 32)), max_size=20))
def test_a_subnet_overlaps_nothing_that_is_taken(routes: list[tuple[int, int]]) -> None:
    """What is chosen is in the range and free; nothing is chosen only if all is taken."""
    taken = [ipaddress.IPv4Network((address, prefix), strict=False) for address, prefix in routes]
    free = [one for one in SUBNETS if not any(one.overlaps(other) for other in taken)]
    if free:
        assert egress_rules.choose_subnet(egress_rules.Policy(), taken).network == free[0]
    else:
        with pytest.raises(egress_rules.BadNetwork, match="routed elsewhere"):
            egress_rules.choose_subnet(egress_rules.Policy(), taken)


@pytest.mark.parametrize("range_", ["100.64.0.0/19", "not a network", "100.64.0.1/10", "fd00::/8"])
def test_a_range_that_cannot_be_is_refused(range_: str) -> None:
    """A range must be an IPv4 network of at least one subnet's size."""
    with pytest.raises(egress_rules.BadNetwork):
        egress_rules.choose_subnet(egress_rules.Policy(range=range_), [])


@given(st.integers(0, 10**6))
def test_environments_have_addresses_of_their_own(number: int) -> None:
    """Every number gives an address within the subnet that is neither the gateway's nor the machine's nor the broadcast's."""
    subnet = egress_rules.choose_subnet(egress_rules.Policy(), [])
    address = subnet.environment(number)
    assert address in subnet.network
    assert address not in (subnet.gateway, subnet.machine, subnet.network.network_address, subnet.network.broadcast_address)
    assert (address == subnet.environment(0)) == (number % subnet.environments == 0)


def test_a_table_says_whose_it_is() -> None:
    """The name of a table gives the instance back; another program's gives none."""
    assert egress_rules.instance_of(egress_rules.table_name("4711-93847-4026531836")) == "4711-93847-4026531836"
    assert egress_rules.instance_of("filter") is None


def test_what_is_never_reached_comes_before_what_is_allowed() -> None:
    """In the order of the rules: never, denied, allowed, private."""
    policy = egress_rules.Policy(allow=("10.0.0.0/8",), deny=("10.1.0.0/16",))
    rules = egress_rules.gateway_rules(policy, egress_rules.choose_subnet(policy, []), 65536)
    forward = rules.partition("chain forward")[2]
    places = [forward.index(f"@{name}") for name in ("never", "denied", "allowed", "private")]
    assert places == sorted(places)
    for network in ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3"):
        assert network in egress_rules.NEVER


def test_uplinks_are_where_packets_leave() -> None:
    """Interfaces of default routes and of allowed networks; never our own, nor loopback."""
    known = [
        machine_network.Route("eth0", ipaddress.IPv4Network("0.0.0.0/0")),
        machine_network.Route("tun0", ipaddress.IPv4Network("10.8.0.0/16")),
        machine_network.Route("docker0", ipaddress.IPv4Network("172.17.0.0/16")),
        machine_network.Route("lambdad1", ipaddress.IPv4Network("0.0.0.0/0")),
    ]
    assert machine_network.uplinks(known, egress_rules.Policy(), "lambdad1") == ["eth0"]
    assert machine_network.uplinks(known, egress_rules.Policy(allow=("10.0.0.0/8",)), "lambdad1") == ["eth0", "tun0"]


def test_resolvers_are_read_from_the_machines_file() -> None:
    """Addresses of both kinds, at most three; comments, names and nonsense are passed over."""
    text = "# a comment\nsearch example.test\nnameserver 127.0.0.53\nnameserver\nnameserver nonsense\n nameserver fd00::1 \n"
    assert egress.nameservers(text) == ["127.0.0.53", "fd00::1"]
    assert len(egress.nameservers("nameserver 10.0.0.1\n" * 9)) == 3


def test_an_environment_is_told_who_resolves() -> None:
    """The gateway answers; the machine's resolvers and search domains are not named."""
    subnet = egress_rules.choose_subnet(egress_rules.Policy(), [])
    lines = egress_rules.resolv_conf(subnet).splitlines()
    assert [line for line in lines if line.startswith(("nameserver", "search", "domain"))] == ["nameserver 100.64.0.1"]


def test_networks_in_settings_are_checked() -> None:
    """Lists are separated by commas in the environment; what is no network is refused with its name."""
    given_ = {"LAMBDAD_EGRESS": "on", "LAMBDAD_EGRESS_ALLOW": "10.0.0.0/8, 192.168.1.0/24"}
    loaded = settings.load({}, given_)
    assert (loaded.egress, loaded.egress_allow) == ("on", ("10.0.0.0/8", "192.168.1.0/24"))
    assert settings.Settings.from_json(loaded.to_json()) == loaded
    assert settings.load({}, {}).egress == "off"
    assert settings.load({}, {"LAMBDAD_SNS_DENY": "10.0.0.0/8,::/0"}).sns_denied == ("10.0.0.0/8", "::/0")
    assert settings.load({}, {}).sns_denied == ()
    assert "127.0.0.0/8" in settings.load({}, {"LAMBDAD_AUTH": "iam"}).sns_denied
    assert settings.load({}, {"LAMBDAD_AUTH": "iam", "LAMBDAD_SNS_DENY": "192.0.2.0/24"}).sns_denied == ("192.0.2.0/24",)
    for name, value in (("egress_deny", "10.0.0.1/8"), ("sns_deny", "here"), ("egress_range", "fd00::/8"), ("egress", "maybe")):
        with pytest.raises(settings.BadSettings, match=name):
            settings.load({name: value}, {})
