"""What is empty for want of text messages and push notifications; what would send them is refused."""

from collections.abc import Mapping
from typing import Any

from lambdad.services.ports import CallContext, Handler


class PhoneNumbers:
    """The operations that have nothing to show: nobody was sent anything, so nobody opted out."""

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "CheckIfPhoneNumberIsOptedOut": self.check_if_phone_number_is_opted_out,
            "ListPhoneNumbersOptedOut": self.list_phone_numbers_opted_out,
            "ListPlatformApplications": self.list_platform_applications,
        }

    async def check_if_phone_number_is_opted_out(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Say that a number has not opted out."""
        return {"isOptedOut": False}

    async def list_phone_numbers_opted_out(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List no number."""
        return {"phoneNumbers": []}

    async def list_platform_applications(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List no application."""
        return {"PlatformApplications": []}
