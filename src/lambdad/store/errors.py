"""What goes wrong in the store; no exception of a driver leaves the room.

StoreError
├── Unavailable            the database cannot be reached or cannot work now; whether it was written is unknown
│   ├── DiskFull           nothing fits any more
│   └── Closed             the database was closed by us
├── Busy                   another holds a lock, or the statement took too long; may be tried again
├── ConstraintViolated     the rows refuse it
│   └── UniqueViolated     a row with this key is already there
├── Corrupt                what is stored is not what was written
├── WrongQuery             the program is wrong: bad SQL, a missing table, a write in a read
│   ├── MalformedSql       a .sql file breaks its grammar
│   ├── MissingParameter   a query was given too few parameters
│   └── WrongValue         a value that a column or a parameter cannot take
└── MigrationRefused       the schema and the program do not fit
    ├── MigrationChanged   a migration was edited after it had been applied
    └── DatabaseNewer      the database has migrations that the program does not know
"""

from typing import Self


class StoreError(Exception):
    """The store could not do what it was asked."""

    def again(self) -> Self:
        """Make an equal exception for another caller whom the same failure hits, caused by this one."""
        twin = type(self)(*self.args)
        twin.__cause__ = self
        return twin


class Unavailable(StoreError):
    """The database cannot be reached or cannot work now; a write that fails so may or may not have happened."""


class DiskFull(Unavailable):
    """Nothing fits on the disk any more."""


class Closed(Unavailable):
    """The database was closed."""


class Busy(StoreError):
    """Another holds a lock, or the statement took too long; nothing was written, and it may be tried again."""


class ConstraintViolated(StoreError):
    """The rows that are there, or a CHECK, refuse the change."""


class UniqueViolated(ConstraintViolated):
    """A row with this key is already there."""


class Corrupt(StoreError):
    """What is stored is not what was written."""


class WrongQuery(StoreError):
    """The program is wrong: bad SQL, a missing table, a write in a read."""


class MalformedSql(WrongQuery):
    """A .sql file breaks its grammar; the message names file and line."""


class MissingParameter(WrongQuery):
    """A query was given too few parameters."""


class WrongValue(WrongQuery):
    """A value that the column or the parameter cannot take."""


class MigrationRefused(StoreError):
    """The schema and the program do not fit; nothing was changed."""


class MigrationChanged(MigrationRefused):
    """A migration was edited after it had been applied."""


class DatabaseNewer(MigrationRefused):
    """The database has migrations that the program does not know."""
