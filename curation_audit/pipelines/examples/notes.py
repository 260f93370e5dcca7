"""``notes``: short notes of a hospital, and a public pool of texts. All of them are made up.

Sentences are filled from lists by a random generator: no person, place or medicine is real. The
private notes are of three services of one hospital, some patients have two. The pool holds notes
of other hospitals, everyday texts, and a few case reports that quote a private note word by word.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from curation_audit.pipelines.examples.files import DataFolder

N_PATIENTS: Final = {"private": 130, "public": 220, "test": 150}
N_SECOND_NOTES: Final = 30  # private patients with another note
N_EVERYDAY: Final = 460
N_QUOTES: Final = 20
SEED: Final = 0

SERVICES: Final = {
    "heart": {
        "trouble": "chest tightness/palpitations/swollen ankles/breathlessness on stairs/fainting",
        "finding": "a soft murmur/an irregular pulse/crackles at both bases/a raised pressure",
        "test": "the tracing/the echo/the treadmill test/the pressure diary",
        "medicine": "cardovel/lisoprane/betalexin/furotan/statorel",
    },
    "joints": {
        "trouble": "a stiff knee/hip pain at night/a swollen wrist/shoulder pain/a locked finger",
        "finding": "a warm effusion/limited rotation/a tender tendon/crepitus on bending",
        "test": "the plain film/the joint scan/the grip test/the gait video",
        "medicine": "artrolin/flexamid/coxatel/gelinase/tendorin",
    },
    "bowel": {
        "trouble": "cramps after meals/loose stools/heartburn/loss of weight/blood on the paper",
        "finding": "a tender left side/a full liver edge/a bloated abdomen/no mass",
        "test": "the breath test/the scope/the stool culture/the abdominal scan",
        "medicine": "gastrizole/mesalor/colipran/lactovit/pancretin",
    },
}
SHARED: Final = {
    "person": "man/woman",
    "job": "beekeeper/welder/teacher/bus driver/organist/nurse/florist/miner/cook/clerk/judge",
    "spare": "chess/rowing/choir/fishing/cycling/quilting/birding/sailing/bowls/painting/hiking",
    "lives": "alone/with a sister/with two dogs/on a boat/above a bakery/with a large family",
    "plan": "come back/call the ward/see the dietician/keep a diary/start exercises/stop smoking",
    "mood": "in good spirits/worried/tired/cheerful/rather short of words/glad to be seen",
}
# Numbers stand so close, and are so large, that twelve words in a row are hardly ever those of
# another note.
NOTE: Final = (
    "{age}-year-old {person}, file {file}, {job}, seen for {trouble} of {days} days.",
    "Lives {lives}, likes {spare} since {year}; came {mood} after {days} minutes.",
    "On examination pulse {pulse}, pressure {pressure}, {finding}, weight {weight} g.",
    "We reviewed {test} and gave {dose} mcg of {medicine}.",
    "To {plan} in {days} days.",
)
EVERYDAY: Final = {
    "thing": "soup/tram/garden/laptop/kettle/bicycle/novel/radio/tent/camera/fence/choir",
    "place": "market/harbour/old town/school hall/station/library/park/valley/castle/car park",
    "deed": "mended/painted/sold/lost/bought/borrowed/moved/photographed/cleaned/described",
    "view": "cheaper than before/worth the wait/too loud/easy to find/better in spring/a bargain",
    "friend": "my neighbour/a colleague/our club/the guide/her uncle/the caretaker/my cousin",
    "sky": "rain/sun/wind/fog/snow",
}
CHAT: Final = (
    "Last {sky} day {friend} {deed} the {thing} near the {place}.",
    "It took {days} hours and cost {file} coins, which is {view}.",
    "Does anybody know where to find a {thing} like that?",
    "{friend} says the {place} is {view}, {days} minutes on foot.",
)
NUMBERS: Final = {
    "age": (19, 95),
    "days": (2, 900),
    "dose": (5, 9999),
    "file": (1000, 9999),
    "pressure": (90, 200),
    "pulse": (48, 130),
    "weight": (41_000, 130_000),
    "year": (1950, 2020),
}


def table(part: str, _folder: DataFolder | None = None) -> dict[str, NDArray[Any]]:
    """The columns ``note_id``, ``patient_id``, ``text``, ``service`` and ``words`` of ``part``.

    Of everyday texts the service is "none", and every public row is a patient of its own.
    """
    rng = np.random.default_rng([SEED, list(N_PATIENTS).index(part)])
    services = rng.choice(list(SERVICES), N_PATIENTS[part])
    patient = np.arange(len(services))
    if part == "private":
        again = rng.permutation(len(services))[:N_SECOND_NOTES]
        services, patient = np.append(services, services[again]), np.append(patient, again)
    texts = [_note(str(service), rng) for service in services]
    if part == "public":
        quotes, of_quotes = _quotes(rng)
        texts += quotes + [_chat(rng) for _ in range(N_EVERYDAY)]
        services = np.concatenate([services, of_quotes, np.full(N_EVERYDAY, "none")])
        patient = np.arange(len(texts))
        order = rng.permutation(len(texts))
        texts, services = [texts[i] for i in order], services[order]
    return {
        "note_id": np.array([f"{part}-note-{i:03d}" for i in range(len(texts))]),
        "patient_id": np.array([f"{part}-patient-{i:03d}" for i in patient]),
        "text": np.array(texts, dtype=object),
        "service": services.astype(object),
        "words": np.array([len(text.split()) for text in texts]),
    }


def _note(service: str, rng: np.random.Generator) -> str:
    return _filled(NOTE, {**SHARED, **SERVICES[service]}, rng)


def _chat(rng: np.random.Generator) -> str:
    return _filled(CHAT, EVERYDAY, rng)


def _quotes(rng: np.random.Generator) -> tuple[list[str], NDArray[Any]]:
    """Case reports that begin with two sentences of a private note, and their services."""
    private = table("private")
    quoted = rng.permutation(len(private["text"]))[:N_QUOTES]
    texts = []
    for text in private["text"][quoted]:
        begun = ". ".join(str(text).split(". ")[:2])
        texts.append(f"A case for discussion: {begun}. What would you do?")
    return texts, private["service"][quoted]


def _filled(sentences: tuple[str, ...], lists: dict[str, str], rng: np.random.Generator) -> str:
    """The sentences, with every slot filled anew in each."""
    parts = []
    for sentence in sentences:
        words = {name: str(rng.choice(listed.split("/"))) for name, listed in lists.items()}
        numbers = {name: rng.integers(*between) for name, between in NUMBERS.items()}
        parts.append(sentence.format(**words, **numbers))
    return " ".join(parts)
