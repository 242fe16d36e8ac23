"""Finds out whether this machine can give environments a way out, and what on it may stand in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

from lambdad.sandbox import egress_rules, machine_network, netlink
from lambdad.sandbox.egress import in_namespace
from lambdad.sandbox.inside import kernel

_ANSWER_WITHIN_S = 5


@dataclass(frozen=True, slots=True)
class Report:
    """``missing`` says why there can be no way out, "" if there can. ``uplinks`` are the interfaces it leads over now; those of
    ``shut`` do not forward packets yet. ``firewall`` names what else on this machine drops forwarded packets."""

    missing: str
    subnet: str = ""
    uplinks: tuple[str, ...] = ()
    shut: tuple[str, ...] = ()
    firewall: tuple[str, ...] = ()


def probe(policy: egress_rules.Policy) -> Report:
    """Make the interfaces and load the rules in a namespace that goes away again. In a thread; changes nothing on the machine."""
    known = machine_network.routes()
    ways = machine_network.uplinks(known, policy, "")
    try:
        subnet = egress_rules.choose_subnet(policy, [route.network for route in known if route.network.prefixlen])
        machine_network.our_tables()
        with in_namespace(None):
            kernel.unshare(kernel.CLONE_NEWNET, "unshare a network namespace")
            with netlink.open_socket() as links:
                near, far = netlink.End("near", hardware=b"\x02\0\0\0\0\x01"), netlink.End("far", hardware=b"\x02\0\0\0\0\x02")
                netlink.send(links, netlink.veth(near, far, mtu=machine_network.DEFAULT_MTU))
            machine_network.nft(rules=egress_rules.gateway_rules(policy, subnet, machine_network.connection_table_entries()))
            machine_network.nft(rules=egress_rules.machine_rules("lambdad_probe", "near", subnet, ways))
            machine_network.configure("near", forwarding=1)
    except egress_rules.BadNetwork as error:
        return Report(str(error))
    except netlink.NetlinkFailed as refused:
        return Report(f"the kernel refused: {refused.step}: {os.strerror(refused.errno or 0)}")
    except machine_network.EgressFailed as refused:
        return Report(str(refused.strerror).removeprefix("egress: "))
    except kernel.StepFailed as refused:
        return Report(str(refused))
    shut = tuple(name for name in ways if not machine_network.is_forwarding(name))
    return Report("", str(subnet.network), tuple(ways), shut, tuple(_others_that_drop()))


def _others_that_drop() -> list[str]:
    """Name chains of other programs whose policy is to drop what is forwarded; whether their rules let us pass is not known."""
    found = []
    try:
        for line in machine_network.nft("list", "chains").splitlines():
            words = line.split()
            if words[:1] == ["table"]:
                table = " ".join(words[1:3])
            elif words[:1] == ["chain"]:
                chain = words[1]
            elif "hook forward" in line and "policy drop" in line:
                found.append(f"nftables {table} {chain}")
    except machine_network.EgressFailed:
        return found
    program = shutil.which("iptables-legacy", path=machine_network.NFT_PATH)
    if program is not None:
        try:
            listed = subprocess.run(
                [program, "-w", "2", "-S", "FORWARD"], capture_output=True, text=True, timeout=_ANSWER_WITHIN_S, check=False
            )
        except (OSError, subprocess.SubprocessError):
            return found
        if "-P FORWARD DROP" in listed.stdout:
            found.append("iptables FORWARD")
    return found
