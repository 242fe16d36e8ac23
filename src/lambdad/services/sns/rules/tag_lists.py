"""Tags as SNS takes them: ``[{"Key": "k", "Value": "v"}]``."""

from collections.abc import Mapping, Sequence

from lambdad.services.sns import errors
from lambdad.services.sns.rules import limits


def checked(given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """
    Check tags that are to be set.

    Raises:
        InvalidParameter: a key is there twice, or is AWS's own.
        TooManyTags: they are more than a topic may have.
    """
    keys = [tag["Key"] for tag in given]
    if len(set(keys)) < len(keys):
        raise errors.InvalidParameter("Duplicated keys are not allowed.")
    if any(key.lower().startswith("aws:") for key in keys):
        raise errors.InvalidParameter("Tag keys must not begin with aws:, which is reserved.")
    if len(keys) > limits.TAGS:
        raise errors.TooManyTags
    return {tag["Key"]: tag["Value"] for tag in given}


def to_api(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Show tags as ListTagsForResource does."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
