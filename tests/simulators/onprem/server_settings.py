"""What clients ask a server before they begin: GetServerTimeZones, GetUserConfiguration and ConvertId."""

from __future__ import annotations

from dataclasses import dataclass

from lxml import etree

from tests.simulators.onprem.mailboxes import target
from tests.simulators.onprem.soap import EwsError, M, children, failure, flag, local, response, success, text
from tests.simulators.onprem.state import Call

_XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
_RULES = "trule:Microsoft/Registry"


@dataclass(frozen=True, slots=True)
class _Zone:
    """A time zone with the day each half of the year begins: month, occurrence (-1 is the last) of Sunday, and hour."""

    name: str
    bias: str
    daylight: tuple[str, tuple[int, int, int], tuple[int, int, int]] | None = None  # bias, begin and end


_ZONES = {
    "UTC": _Zone("(UTC) Coordinated Universal Time", "PT0S"),
    "W. Europe Standard Time": _Zone(
        "(UTC+01:00) Amsterdam, Berlin, Rome", "-PT1H", ("-PT2H", (3, -1, 2), (10, -1, 3))
    ),
    "Eastern Standard Time": _Zone("(UTC-05:00) Eastern Time (US)", "PT5H", ("PT4H", (3, 2, 2), (11, 1, 2))),
}


def get_server_time_zones(call: Call) -> str:
    """A few time zones: their names, and their rules unless only the names are wanted."""
    asked = {element.text or "" for element in children(call.body.find(f"{M}Ids"))}
    is_full = flag(call.body.get("ReturnFullTimeZoneData", "true"))
    zones = "".join(
        _zone(known, zone, is_full=is_full) for known, zone in _ZONES.items() if not asked or known in asked
    )
    content = f"<m:TimeZoneDefinitions>{zones}</m:TimeZoneDefinitions>"
    return response("GetServerTimeZones", [success("GetServerTimeZones", content)])


def _zone(identifier: str, zone: _Zone, *, is_full: bool) -> str:
    rules = f"{_RULES}/{identifier}/1"
    standard, summer = f"{rules}-Standard", f"{rules}-Daylight"
    periods = f'<t:Period Bias="{zone.bias}" Name="Standard" Id="{text(standard)}"/>'
    inside = f'<t:Transition><t:To Kind="Period">{text(standard)}</t:To></t:Transition>'
    if zone.daylight:
        bias, begin, end = zone.daylight
        periods += f'<t:Period Bias="{bias}" Name="Daylight" Id="{text(summer)}"/>'
        inside = _recurring(summer, begin) + _recurring(standard, end)
    content = (
        f'<t:Periods>{periods}</t:Periods><t:TransitionsGroups><t:TransitionsGroup Id="0">{inside}</t:TransitionsGroup>'
        '</t:TransitionsGroups><t:Transitions><t:Transition><t:To Kind="Group">0</t:To></t:Transition></t:Transitions>'
    )
    return (
        f'<t:TimeZoneDefinition Id="{text(identifier)}" Name="{text(zone.name)}">{content if is_full else ""}'
        "</t:TimeZoneDefinition>"
    )


def _recurring(period: str, day: tuple[int, int, int]) -> str:
    month, occurrence, hour = day
    return (
        f'<t:RecurringDayTransition><t:To Kind="Period">{text(period)}</t:To><t:TimeOffset>PT{hour}H</t:TimeOffset>'
        f"<t:Month>{month}</t:Month><t:DayOfWeek>Sunday</t:DayOfWeek><t:Occurrence>{occurrence}</t:Occurrence>"
        "</t:RecurringDayTransition>"
    )


def get_user_configuration(call: Call) -> str:
    """What a client of the mailbox put down in a folder: nothing ever was."""
    named = call.body.find(f"{M}UserConfigurationName")
    problem = EwsError("ErrorItemNotFound")
    try:
        if named is not None:
            call.access.folder(target(named), call.mailbox)
    except EwsError as other:
        problem = other
    return response("GetUserConfiguration", [failure("GetUserConfiguration", problem)])


def convert_id(call: Call) -> str:
    """IDs in another format; only those that exist here are known, and they look the same in every format."""

    def answer(reference: etree._Element) -> str:
        identifier = reference.get("Id", "")
        if local(reference) != "AlternateId" or len(identifier) < 16:
            raise EwsError("ErrorInvalidIdMalformed")
        form, mailbox = call.body.get("DestinationFormat", ""), reference.get("Mailbox", "")
        attributes = f'Format="{form}" Id="{text(identifier)}" Mailbox="{text(mailbox)}"'
        return success("ConvertId", f'<m:AlternateId {_XSI} xsi:type="t:AlternateIdType" {attributes}/>')

    return response("ConvertId", call.each(children(call.body.find(f"{M}SourceIds")), answer))
