"""Make a thumbnail of a picture. Pillow, with its native code, comes in the function's zip."""

import base64
import io
from typing import Any

from PIL import Image


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take {"image": base64, "width": pixels}, return the thumbnail as PNG and its measures."""
    picture = Image.open(io.BytesIO(base64.b64decode(event["image"])))
    print(f"a {picture.format} of {picture.width} x {picture.height} pixels, {context.get_remaining_time_in_millis()} ms left")
    width = int(event.get("width", 160))
    small = picture.convert("RGB").resize((width, max(1, picture.height * width // picture.width)), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "PNG")
    return {"image": base64.b64encode(out.getvalue()).decode(), "width": small.width, "height": small.height}
