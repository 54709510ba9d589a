"""Photos are listed before they are fetched, fetched in bounded batches, and never fetched twice."""

from __future__ import annotations

import base64
from unittest.mock import patch

import pytest

from connectors.ews import connect
from connectors.ews.connector import EwsConnector
from connectors.port import PHOTO_LIMIT, CredentialRejected, Mailbox, NotPermitted, Photo, PhotoRef, PhotoState
from connectors.selection import PHOTO_PIXELS, Selection
from tests.unit.ews_wire import HEAD, SETTINGS, TAIL, Reply, Wire, answer, error, fault, messages, success

ANNA = Mailbox("anna@example.com", "anna@example.com")
PICTURE = b"\xff\xd8\xff\xe0 a picture"


def ref(item_id: str = "", etag: str = "") -> PhotoRef:
    return PhotoRef(ANNA, "top" if item_id else "", item_id, etag)


def listed(attachment_id: str, size: int = 100, is_photo: str = "true", name: str = "ContactPicture.jpg") -> str:
    flag = f"<t:IsContactPhoto>{is_photo}</t:IsContactPhoto>" if is_photo else ""
    return (
        '<m:Items><t:Contact><t:ItemId Id="i" ChangeKey="E1"/><t:Attachments><t:FileAttachment>'
        f'<t:AttachmentId Id="{attachment_id}"/><t:Name>{name}</t:Name><t:Size>{size}</t:Size>'
        f"<t:LastModifiedTime>2026-01-01T00:00:00Z</t:LastModifiedTime>{flag}"
        "</t:FileAttachment></t:Attachments></t:Contact></m:Items>"
    )


EMPTY = '<m:Items><t:Contact><t:ItemId Id="i"/></t:Contact></m:Items>'


def attached(content: bytes = PICTURE) -> str:
    text = base64.b64encode(content).decode()
    return (
        "<m:Attachments><t:FileAttachment><t:AttachmentId Id='x'/><t:IsContactPhoto>true</t:IsContactPhoto>"
        f"<t:Content>{text}</t:Content></t:FileAttachment></m:Attachments>"
    )


def user_photo(content: bytes, etag: str = "") -> tuple[int, dict[str, str], str]:
    picture = f"<m:PictureData>{base64.b64encode(content).decode()}</m:PictureData>" if content else ""
    body = (
        f'{HEAD}<m:GetUserPhotoResponse ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f"<m:HasChanged>true</m:HasChanged>{picture}</m:GetUserPhotoResponse>{TAIL}"
    )
    return 200, {"ETag": etag} if etag else {}, body


def no_user_photo(code: str) -> str:
    return (
        f'{HEAD}<m:GetUserPhotoResponse ResponseClass="Error"><m:ResponseCode>{code}</m:ResponseCode>'
        f"<m:HasChanged>false</m:HasChanged></m:GetUserPhotoResponse>{TAIL}"
    )


def one(connector: EwsConnector, wanted: PhotoRef) -> Photo:
    (photo,) = connector.photos([wanted])
    return photo


def test_a_contacts_photo_is_its_attachment(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached()))

    photo = one(connector, ref("i"))

    assert (photo.state, photo.content) == (PhotoState.PRESENT, PICTURE)
    assert photo.etag


def test_a_photo_that_is_still_the_same_is_not_downloaded(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached()), answer("GetItem", listed("x")))
    etag = one(connector, ref("i")).etag

    again = one(connector, ref("i", etag))

    assert (again.state, again.etag) == (PhotoState.UNCHANGED, etag)
    assert wire.operations == ["GetItem", "GetAttachment", "GetItem"]


def test_another_attachment_is_another_photo(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached()))
    wire.reply(answer("GetItem", listed("y")), answer("GetAttachment", attached(b"new")))
    etag = one(connector, ref("i")).etag

    again = one(connector, ref("i", etag))

    assert (again.state, again.content) == (PhotoState.PRESENT, b"new")


@pytest.mark.parametrize(
    "content", [EMPTY, listed("x", is_photo="false", name="CV.pdf"), listed("x", is_photo="", name="CV.pdf")]
)
def test_an_item_without_a_photo_attachment_has_none(wire: Wire, connector: EwsConnector, content: str) -> None:
    wire.reply(answer("GetItem", content))

    assert one(connector, ref("i")).state is PhotoState.ABSENT


def test_a_server_without_the_photo_flag_is_known_by_the_name(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x", is_photo="")), answer("GetAttachment", attached()))

    assert one(connector, ref("i")).state is PhotoState.PRESENT


def test_a_photo_that_says_it_is_too_large_is_never_downloaded(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x", size=161_000_000)))

    photo = one(connector, ref("i"))

    assert photo.state is PhotoState.FAILED
    assert photo.error is not None
    assert photo.error.code == "photo-too-large"
    assert wire.operations == ["GetItem"]


def test_a_photo_that_is_larger_than_it_says_is_not_kept(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached(b"x" * (PHOTO_LIMIT + 1))))

    photo = one(connector, ref("i"))

    assert photo.error is not None
    assert photo.error.code == "photo-too-large"


def test_an_answer_without_end_is_not_read_to_the_end(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached(b"x" * 4_000)))

    with patch("connectors.ews.mailbox.photos._ANSWER_LIMIT", 2_000):
        photo = one(connector, ref("i"))

    assert photo.error is not None
    assert photo.error.code == "photo-too-large"


def test_photos_that_are_too_much_together_come_one_by_one(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x"), listed("y")), answer("GetAttachment", attached(), attached()))
    wire.reply(answer("GetAttachment", attached()), answer("GetAttachment", attached()))

    with patch("connectors.ews.mailbox.photos._ANSWER_LIMIT", len(answer("GetAttachment", attached())) + 10):
        photos = list(connector.photos([ref("i"), ref("j")]))

    assert [photo.state for photo in photos] == [PhotoState.PRESENT, PhotoState.PRESENT]


def test_large_photos_are_fetched_in_separate_answers(wire: Wire, connector: EwsConnector) -> None:
    large = 3 * 512 * 1024
    wire.reply(answer("GetItem", listed("x", size=large), listed("y", size=large), listed("z", size=10)))
    wire.reply(answer("GetAttachment", attached()), answer("GetAttachment", attached(), attached()))

    assert len(list(connector.photos([ref("i"), ref("j"), ref("k")]))) == 3
    assert wire.operations == ["GetItem", "GetAttachment", "GetAttachment"]


def test_each_reference_gets_its_own_outcome(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(
        messages(
            "GetItem",
            success("GetItem", listed("x")),
            error("GetItem", "ErrorItemNotFound"),
            error("GetItem", "ErrorAccessDenied"),
            error("GetItem", "ErrorServerBusy"),
        ),
        answer("GetAttachment", attached()),
        answer("GetItem", EMPTY),
    )

    states = {photo.ref.item_id: photo.state for photo in connector.photos([ref("a"), ref("b"), ref("c"), ref("d")])}

    assert states == {
        "a": PhotoState.PRESENT,
        "b": PhotoState.ABSENT,
        "c": PhotoState.FAILED,
        "d": PhotoState.ABSENT,
    }


def test_a_mailbox_that_refuses_fails_its_photos_only(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(fault("ErrorImpersonateUserDenied"))

    photo = one(connector, ref("i"))

    assert isinstance(photo.error, NotPermitted)


def test_what_is_no_base64_fails(wire: Wire, connector: EwsConnector) -> None:
    broken = attached(b"").replace("<t:Content>", "<t:Content>abc")
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", broken))

    assert one(connector, ref("i")).state is PhotoState.FAILED


def test_a_cards_photo_comes_from_the_directory(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(user_photo(PICTURE, '"1"'))

    photo = one(connector, ref())

    assert (photo.state, photo.content, photo.etag) == (PhotoState.PRESENT, PICTURE, '"1"@240')
    assert wire.seen[0].find("string(//m:SizeRequested)") == "HR240x240"


@pytest.mark.parametrize("pixels", PHOTO_PIXELS)
def test_a_cards_photo_comes_in_the_size_that_is_wanted(wire: Wire, pixels: int) -> None:
    wire.reply(user_photo(PICTURE))

    one(connect(SETTINGS, selection=Selection(photo_pixels=pixels)), ref())

    assert wire.seen[0].find("string(//m:SizeRequested)") == f"HR{pixels}x{pixels}"


def test_pictures_are_not_compressed_once_more(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), answer("GetAttachment", attached()))

    one(connector, ref("i"))

    assert [request.headers["Accept-Encoding"] for request in wire.seen] == ["gzip, deflate", "identity"]


def test_a_cards_photo_is_asked_for_by_the_servers_etag(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((304, {"ETag": '"1"'}, ""))

    photo = one(connector, ref(etag='"1"@240'))

    assert (photo.state, photo.etag) == (PhotoState.UNCHANGED, '"1"@240')
    assert wire.seen[0].headers["If-None-Match"] == '"1"'


def test_a_cards_photo_that_has_not_changed_comes_without_its_bytes(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(
        f'{HEAD}<m:GetUserPhotoResponse ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode>'
        f"<m:HasChanged>false</m:HasChanged><m:PictureData/></m:GetUserPhotoResponse>{TAIL}"
    )

    assert one(connector, ref(etag='"1"@240')).state is PhotoState.UNCHANGED


def test_a_photo_of_another_size_is_another_photo(wire: Wire) -> None:
    wire.reply(user_photo(PICTURE, '"1"'))

    photo = one(connect(SETTINGS, selection=Selection(photo_pixels=648)), ref(etag='"1"@240'))

    assert (photo.state, photo.etag) == (PhotoState.PRESENT, '"1"@648')
    assert "If-None-Match" not in wire.seen[0].headers


def test_a_server_without_etags_is_compared_by_content(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(user_photo(PICTURE), user_photo(PICTURE))
    first = one(connector, ref())

    second = one(connector, ref(etag=first.etag))

    assert second.state is PhotoState.UNCHANGED
    assert "If-None-Match" not in wire.seen[1].headers


@pytest.mark.parametrize(
    "reply",
    [
        user_photo(b""),
        no_user_photo("ErrorItemNotFound"),
        (404, {}, ""),
        fault("ErrorNonExistentMailbox"),
        fault("ErrorInvalidRequest"),
        (500, {}, fault("Client")),
        no_user_photo("ErrorPhotoNotFound"),
    ],
    ids=["empty", "not found", "404", "no mailbox", "Exchange 2010", "no such operation", "another not found"],
)
def test_a_person_without_a_photo_has_none(wire: Wire, connector: EwsConnector, reply: str) -> None:
    wire.reply(reply)

    assert one(connector, ref()).state is PhotoState.ABSENT


@pytest.mark.parametrize("reply", [fault("ErrorInvalidRequest"), (500, {}, fault("Server"))], ids=["code", "bare"])
def test_a_server_that_has_given_a_photo_knows_photos_whatever_it_says_now(
    wire: Wire, connector: EwsConnector, reply: Reply
) -> None:
    wire.reply(reply)

    assert one(connector, ref(etag='"1"@240')).state is PhotoState.FAILED


def test_a_size_the_server_does_not_know_falls_back_to_a_smaller_one(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(no_user_photo("ErrorInvalidPhotoSize"), user_photo(PICTURE))

    assert one(connector, ref()).state is PhotoState.PRESENT
    assert wire.seen[1].find("string(//m:SizeRequested)") == "HR96x96"


def test_a_list_that_does_not_match_fails_each_reference(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", EMPTY))

    states = [photo.state for photo in connector.photos([ref("i"), ref("j")])]

    assert states == [PhotoState.FAILED, PhotoState.FAILED]


def test_photos_that_do_not_match_are_fetched_one_by_one(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x"), listed("y")), answer("GetAttachment", attached()))
    wire.reply(answer("GetAttachment", attached()), answer("GetAttachment", attached(), attached()))

    states = {photo.ref.item_id: photo.state for photo in connector.photos([ref("i"), ref("j")])}

    assert states == {"i": PhotoState.PRESENT, "j": PhotoState.FAILED}


def test_a_photo_that_goes_meanwhile_is_absent_and_one_that_is_refused_fails(
    wire: Wire, connector: EwsConnector
) -> None:
    wire.reply(
        answer("GetItem", listed("x"), listed("y"), listed("z")),
        messages(
            "GetAttachment",
            error("GetAttachment", "ErrorInvalidAttachmentId"),
            error("GetAttachment", "ErrorAccessDenied"),
            error("GetAttachment", "ErrorServerBusy"),
        ),
        answer("GetAttachment", attached()),
    )

    states = {photo.ref.item_id: photo.state for photo in connector.photos([ref("i"), ref("j"), ref("k")])}

    assert states == {"i": PhotoState.ABSENT, "j": PhotoState.FAILED, "k": PhotoState.PRESENT}


def test_a_mailbox_that_closes_while_photos_are_fetched_fails_them(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(answer("GetItem", listed("x")), fault("ErrorImpersonateUserDenied"))

    assert isinstance(one(connector, ref("i")).error, NotPermitted)


def test_a_refused_credential_stops_all_photos(wire: Wire, connector: EwsConnector) -> None:
    wire.reply((401, {}, ""))

    with pytest.raises(CredentialRejected):
        list(connector.photos([ref("i"), ref()]))

    assert len(wire.seen) == 1


@pytest.mark.parametrize("code", ["ErrorAccessDenied", "ErrorSomethingNew"])
def test_a_cards_photo_that_cannot_be_had_fails_alone(wire: Wire, connector: EwsConnector, code: str) -> None:
    wire.reply(no_user_photo(code))

    assert one(connector, ref()).state is PhotoState.FAILED


def test_a_cards_photo_that_is_too_large_fails(wire: Wire, connector: EwsConnector) -> None:
    wire.reply(user_photo(b"x" * (PHOTO_LIMIT + 1)))

    photo = one(connector, ref())

    assert photo.error is not None
    assert photo.error.code == "photo-too-large"
