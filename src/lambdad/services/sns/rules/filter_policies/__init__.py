"""Says whether a subscription wants a message: filter policies, checked and compiled once. Does not know where messages come from."""

from lambdad.services.sns.rules.filter_policies.compiling import ATTRIBUTES, BODY, ScopeRefused, compile_policy
from lambdad.services.sns.rules.filter_policies.matching import Filter
from lambdad.services.sns.rules.filter_policies.tokens import PolicyRefused

__all__ = ["ATTRIBUTES", "BODY", "Filter", "PolicyRefused", "ScopeRefused", "compile_policy"]
