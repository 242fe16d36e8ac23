"""Does what is due when it is due, for services that keep times in rows. Does not know the services, nor what their times mean."""

from lambdad.services.timetable.timetable import Timetable

__all__ = ["Timetable"]
