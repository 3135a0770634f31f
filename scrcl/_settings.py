"""What all groups of settings share: they are frozen, unknown names are refused, and no number is true or false."""

from __future__ import annotations

from numbers import Integral
from types import NoneType
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, field_validator
from pydantic_core import PydanticCustomError

if TYPE_CHECKING:
    from pydantic import ValidationInfo

__all__ = ["Settings", "auto_or_whole"]


class Settings(BaseModel):
    """A group of settings, checked when made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would take for 1 or 0; unions with a word, as auto, have rules of their own."""
        if isinstance(value, bool) and info.field_name is not None:
            annotation = cls.model_fields[info.field_name].annotation
            kinds = set(get_args(annotation) or (annotation,)) - {NoneType}
            if kinds == {int}:
                raise PydanticCustomError("whole_number_type", "a whole number")
            if kinds == {float}:
                raise PydanticCustomError("number_type", "a number")
        return value


def auto_or_whole(name: str, *, least: int, most: int | None = None) -> BeforeValidator:
    """Return the check of a setting that is ``auto`` or a whole number, NumPy's too."""
    numbers = f"of at least {least}" if most is None else f"from {least} to {most:,}"

    def checked(value: object) -> int | str:
        if value == "auto":
            return "auto"
        if type(value) is not bool and isinstance(value, Integral):
            number = int(value)
            if number >= least and (most is None or number <= most):
                return number
        message = f"{name} must be auto or a whole number {numbers}; got {value!r}."
        raise ValueError(message)

    return BeforeValidator(checked)
