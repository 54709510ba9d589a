"""Photos: the right size, no download twice, none too large, and every shape of "there is none"."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.graph.mailbox.photos import PhotoReader, plain_etag
from connectors.graph.wire.transport import Answer
from connectors.port import PHOTO_LIMIT, CredentialRejected, Mailbox, Photo, PhotoRef, PhotoState, Unreachable
from tests.unit.graph_stub import NO_CONNECTION, Script, StubGraph, answer, refusal

PIXEL = b"GIF89a\x01\x00\x01\x00\x80\x00\x00"
CARD = "/v1.0/users/u/photo"
ITEM = "/v1.0/users/u/contactFolders/f/contacts/c/photo"
NONE = refusal(404, "ImageNotFound")


def metadata(etag: str = '"1"', edge: int = 240) -> Answer:
    return answer({"@odata.mediaEtag": etag, "id": f"{edge}x{edge}", "width": edge, "height": edge})


def bytes_of(content: bytes, etag: str = '"1"') -> Answer:
    return answer(content, headers={"ETag": etag} if etag else {})


def look(
    scripts: dict[str, Script], *, item: bool = False, etag: str = "", pixels: int = 240
) -> tuple[StubGraph, Photo]:
    graph = StubGraph(scripts)
    ref = PhotoRef(Mailbox("u"), "f", "c", etag) if item else PhotoRef(Mailbox("u"), etag=etag)
    (photo,) = PhotoReader(graph.client, pixels).photos([ref])
    assert photo.ref == ref
    return graph, photo


class TestCards:
    @pytest.mark.parametrize(
        ("edge", "wanted", "size"),
        [(648, 240, 240), (240, 240, 240), (96, 240, 96), (504, 648, 504), (360, 48, 48), (2_000, 240, 240)],
    )
    def test_the_largest_size_up_to_the_one_wanted_is_taken(self, edge: int, wanted: int, size: int) -> None:
        scripts = {CARD: metadata(edge=edge), f"{CARD}s/{size}x{size}/$value": bytes_of(b"face")}
        graph, photo = look(scripts, pixels=wanted)
        assert (photo.state, photo.content, photo.etag) == (PhotoState.PRESENT, b"face", f"1@{wanted}")
        assert graph.client.requests == 2

    def test_a_smaller_one_of_an_odd_size_is_taken_as_it_is(self) -> None:
        graph, photo = look({CARD: metadata(edge=200), f"{CARD}/$value": bytes_of(b"face")})
        assert photo.content == b"face"
        assert graph.client.requests == 2

    def test_a_photo_that_names_no_size_is_found_in_the_list(self) -> None:
        listed = answer({"value": [{"id": "200X200", "width": 200, "height": 200}, {"id": "x", "width": "?"}]})
        said = answer({"@odata.mediaEtag": '"1"'})
        _, photo = look({CARD: said, f"{CARD}s": listed, f"{CARD}s/200X200/$value": bytes_of(b"face")})
        assert photo.content == b"face"

    def test_a_size_that_is_missing_after_all_is_replaced_by_the_next_smaller_one(self) -> None:
        listed = answer({"value": [{"id": f"{n}x{n}", "width": n, "height": n} for n in (48, 120, 360)]})
        scripts: dict[str, Script] = {CARD: metadata(), f"{CARD}s/240x240/$value": NONE, f"{CARD}s": listed}
        _, photo = look({**scripts, f"{CARD}s/120x120/$value": bytes_of(b"face")})
        assert photo.content == b"face"

    def test_an_unchanged_one_costs_one_request_and_no_bytes(self) -> None:
        graph, photo = look({CARD: metadata('W/"1"')}, etag="1@240")
        assert (photo.state, photo.etag) == (PhotoState.UNCHANGED, "1@240")
        assert graph.client.requests == 1

    @pytest.mark.parametrize("etag", ["1@240", "1"])
    def test_another_size_is_another_photo(self, etag: str) -> None:
        scripts: dict[str, Script] = {CARD: metadata(edge=648), f"{CARD}s/96x96/$value": bytes_of(b"face")}
        _, photo = look(scripts, etag=etag, pixels=96)
        assert (photo.state, photo.etag) == (PhotoState.PRESENT, "1@96")

    def test_none_costs_one_request(self) -> None:
        graph, photo = look({CARD: NONE})
        assert photo.state is PhotoState.ABSENT
        assert graph.client.requests == 1

    def test_somebody_who_left_is_a_failure_and_not_an_absent_photo(self) -> None:
        _, photo = look({CARD: refusal(404, "Request_ResourceNotFound")})
        assert photo.state is PhotoState.FAILED

    def test_a_missing_permission_is_named(self) -> None:
        _, photo = look({CARD: refusal(403, "Authorization_RequestDenied")})
        assert photo.error is not None
        assert "User.Read.All" in photo.error.advice


class TestContacts:
    def test_a_new_one_costs_one_request(self) -> None:
        graph, photo = look({f"{ITEM}/$value": bytes_of(b"face", '"7"')}, item=True)
        assert (photo.state, photo.content, photo.etag) == (PhotoState.PRESENT, b"face", "7")
        assert graph.client.requests == 1

    def test_a_known_one_is_downloaded_only_when_it_changed(self) -> None:
        scripts: dict[str, Script] = {ITEM: metadata('"8"'), f"{ITEM}/$value": bytes_of(b"new", "")}
        assert look(scripts, item=True, etag="8")[1].state is PhotoState.UNCHANGED
        _, changed = look(scripts, item=True, etag="7")
        assert (changed.content, changed.etag) == (b"new", "8")

    def test_where_bytes_come_without_an_etag_the_metadata_are_read_before_them(self) -> None:
        graph, photo = look({ITEM: metadata('"8"'), f"{ITEM}/$value": bytes_of(b"face", "")}, item=True)
        assert (photo.content, photo.etag) == (b"face", "8")
        assert [path.rpartition("/")[2] for path in graph.asked] == ["$value", "photo", "$value"]

    def test_one_that_was_cut_off_in_the_batch_is_downloaded_by_itself(self) -> None:
        cut = answer({"responses": [{"id": "0", "status": 200, "body": "ZmFjZ"}]})
        graph, photo = look({"/v1.0/$batch": cut, f"{ITEM}/$value": bytes_of(b"face")}, item=True)
        assert photo.content == b"face"
        assert graph.client.requests == 2

    def test_references_keep_to_immutable_ids(self) -> None:
        graph, _ = look({f"{ITEM}/$value": bytes_of(b"face")}, item=True)
        assert graph.posts[0][0]["headers"]["Prefer"] == 'IdType="ImmutableId"'


@pytest.mark.parametrize(
    "scripts",
    [
        {f"{ITEM}/$value": NONE, ITEM: NONE},
        {f"{ITEM}/$value": refusal(404, "ErrorItemNotFound"), ITEM: refusal(404, "ErrorItemNotFound")},
        {f"{ITEM}/$value": bytes_of(PIXEL), ITEM: metadata('""', edge=1)},
        {f"{ITEM}/$value": bytes_of(b""), ITEM: metadata('"1"')},
    ],
    ids=["no image", "no item", "placeholder", "empty"],
)
@pytest.mark.parametrize("etag", ["", "old"])
def test_there_is_none_in_every_shape(scripts: dict[str, Script], etag: str) -> None:
    assert look(scripts, item=True, etag=etag)[1].state is PhotoState.ABSENT


def test_a_placeholder_of_a_person_is_none_too() -> None:
    assert look({CARD: metadata('""', edge=1)})[1].state is PhotoState.ABSENT


def test_a_photo_over_the_limit_is_refused_without_reading_it_all() -> None:
    _, photo = look({f"{ITEM}/$value": bytes_of(b"x" * (PHOTO_LIMIT + 1))}, item=True)
    assert photo.state is PhotoState.FAILED
    assert photo.error is not None
    assert photo.error.code == "photo-too-large"


def test_photos_that_are_too_much_for_one_batch_come_one_by_one() -> None:
    big = b"\xff\xd8" + b"x" * (PHOTO_LIMIT - 2)
    graph = StubGraph({f"/v1.0/users/u/contactFolders/f/contacts/{n}/photo/$value": bytes_of(big) for n in range(3)})
    found = list(PhotoReader(graph.client).photos([PhotoRef(Mailbox("u"), "f", str(n)) for n in range(3)]))
    assert [photo.content for photo in found] == [big] * 3


def test_one_photos_failure_leaves_the_others_alone() -> None:
    scripts: dict[str, Any] = {
        f"{ITEM}/$value": refusal(429, "Busy", Retry_After="9999"),
        "/v1.0/users/u/contactFolders/f/contacts/d/photo/$value": bytes_of(b"face"),
    }
    refs = [PhotoRef(Mailbox("u"), "f", name) for name in ("c", "d")]
    found = list(PhotoReader(StubGraph(scripts).client).photos(refs))
    assert [photo.state for photo in found] == [PhotoState.FAILED, PhotoState.PRESENT]


def test_a_refused_credential_ends_it_all() -> None:
    with pytest.raises(CredentialRejected):
        look({f"{ITEM}/$value": refusal(401, "InvalidAuthenticationToken")}, item=True)


@pytest.mark.parametrize("written", ['"A1"', 'W/"A1"', "A1", ' "A1" '])
def test_etags_are_compared_without_their_quotes(written: str) -> None:
    assert plain_etag(written) == "A1"


class TestAlone:
    """What happens where a photo is downloaded by itself, here because the batch is not taken at once."""

    @staticmethod
    def _look(alone: Any) -> Photo:
        return look({f"{ITEM}/$value": [refusal(413, "ResponseTooLarge"), alone]}, item=True)[1]

    def test_its_bytes_and_etag_count_as_in_a_batch(self) -> None:
        photo = self._look(bytes_of(b"face", '"9"'))
        assert (photo.content, photo.etag) == (b"face", "9")

    def test_there_may_be_none(self) -> None:
        assert self._look(NONE).state is PhotoState.ABSENT

    @pytest.mark.parametrize(
        "alone",
        [refusal(403, "ErrorAccessDenied"), answer("<html>Hotel</html>"), refusal(429, "x", Retry_After="9999")],
    )
    def test_it_may_fail(self, alone: Answer) -> None:
        assert self._look(alone).state is PhotoState.FAILED

    def test_without_a_connection_nothing_else_is_tried(self) -> None:
        with pytest.raises(Unreachable):
            self._look(NO_CONNECTION)


@pytest.mark.parametrize(
    ("listed", "state"),
    [
        (NONE, PhotoState.PRESENT),
        (refusal(403, "ErrorAccessDenied"), PhotoState.FAILED),
        (refusal(429, "x", Retry_After="9999"), PhotoState.FAILED),
        (answer({"value": "none"}), PhotoState.FAILED),
        (answer({"value": []}), PhotoState.PRESENT),
    ],
)
def test_a_list_of_sizes_may_fail_too(listed: Answer, state: PhotoState) -> None:
    said = answer({"@odata.mediaEtag": '"1"'})  # and no size
    scripts: dict[str, Script] = {CARD: said, f"{CARD}s": listed, f"{CARD}/$value": bytes_of(b"face")}
    assert look(scripts)[1].state is state


def test_a_size_in_the_list_that_is_not_there_is_an_absent_photo() -> None:
    listed = answer({"value": [{"id": "240x240", "width": 240, "height": 240}]})
    assert look({CARD: metadata(), f"{CARD}s": listed, f"{CARD}s/240x240/$value": NONE})[1].state is PhotoState.ABSENT


class TestServersThatDoItOtherwise:
    @pytest.mark.parametrize("refused", [refusal(404, ""), refusal(405, "x"), refusal(501, "NotImplemented")])
    def test_a_photo_without_metadata_is_a_photo(self, refused: Answer) -> None:
        _, card = look({CARD: refused, f"{CARD}s/240x240/$value": bytes_of(b"face")})
        _, item = look({ITEM: refused, f"{ITEM}/$value": bytes_of(b"face", etag="")}, item=True)
        assert (card.content, item.content) == (b"face", b"face")

    def test_bytes_that_came_outweigh_metadata_that_are_absent(self) -> None:
        _, photo = look({ITEM: NONE, f"{ITEM}/$value": bytes_of(b"face", etag="")}, item=True)
        assert (photo.state, photo.content) == (PhotoState.PRESENT, b"face")

    def test_no_metadata_and_no_bytes_are_no_photo(self) -> None:
        _, photo = look({CARD: refusal(404, "")})
        assert photo.state is PhotoState.ABSENT

    def test_a_size_may_be_called_a_bad_request(self) -> None:
        scripts: dict[str, Script] = {CARD: metadata(), f"{CARD}s/240x240/$value": refusal(400, "BadRequest")}
        _, photo = look({**scripts, f"{CARD}s": NONE, f"{CARD}/$value": bytes_of(b"face")})
        assert photo.content == b"face"

    def test_somebody_who_is_there_after_all_has_no_photo(self) -> None:
        _, photo = look({CARD: refusal(404, "Request_ResourceNotFound"), "/v1.0/users/u": answer({"id": "u"})})
        assert photo.state is PhotoState.ABSENT


def test_photos_of_many_mailboxes_share_full_batches() -> None:
    people, scripts = [f"u{number}" for number in range(30)], {}
    for key in people:
        scripts |= {
            f"/v1.0/users/{key}/photo": metadata(),
            f"/v1.0/users/{key}/photos/240x240/$value": bytes_of(b"face"),
        }
        scripts |= {f"/v1.0/users/{key}/contactFolders/f/contacts/c/photo/$value": bytes_of(b"face")}
    refs = [ref for key in people for ref in (PhotoRef(Mailbox(key)), PhotoRef(Mailbox(key), "f", "c"))]
    graph = StubGraph(scripts)
    found = list(PhotoReader(graph.client).photos(refs))
    assert {photo.ref for photo in found if photo.state is PhotoState.PRESENT} == set(refs)
    assert len(found) == len(refs)
    assert [len(post) for post in graph.posts] == [20, 10] * 3
