"""What a run has for one user or one item: `recsys show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys import storage
from recsys.contract import model_files, schema
from recsys.errors import ConfigError
from recsys.run import latest, stages
from recsys.run.runs import FOLDERS, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from recsys.contract.histories import Histories
    from recsys.recommend.describe_user import UserView
    from recsys.recommend.reasons import Scores
    from recsys.recommend.similar_items import ItemView, Learned


def show_user(
    output: str, run_id: str | None, user: str | None, history: int, why: bool = False, seed: int | None = None
) -> UserView:
    """One user's latest events and recommendations; of the published run if `run_id` is None.

    Args:
        output: folder or URI of the output.
        run_id: the run, or None.
        user: id as in the source; None for a user at random.
        history: greatest number of events.
        why: also which past items each recommendation owes most to, for which TensorFlow loads the published method.
        seed: of a user at random.

    Raises:
        ConfigError: there is no such run or user, or nothing is published or recommended.
        DamagedError: a file of the run is damaged, or latest.json names a run that is not there.
    """
    from recsys.recommend.describe_user import describe_user

    run = _finished(output, run_id, ("features", "recommend", *(["train"] if why else [])))
    features, recommendations = run.path(schema.FEATURES_DIR), run.path(schema.RECOMMENDATIONS_DIR)
    scores = _scores(run) if why else None
    return describe_user(features, recommendations, run.run_id, user, history, scores, seed)


def show_item(output: str, run_id: str | None, item: str, most: int) -> ItemView:
    """The items most like one item; of the published run if `run_id` is None.

    Args:
        output, run_id: see `show_user`.
        item: id as in the source.
        most: greatest number of similar items.

    Raises: see `show_user`.
    """
    from recsys.recommend.similar_items import describe_item

    run = _finished(output, run_id, ("features", "train"))
    return describe_item(run.path(schema.FEATURES_DIR), run.run_id, item, most, lambda: _learned(run))


def _scores(run: Run) -> Scores:
    """The scores of a run's published method, which is loaded when they are needed."""

    def scores(context: Histories, items: NDArray[np.int32]) -> NDArray[np.float32]:
        place, model = run.path(schema.FEATURES_DIR), run.path(schema.MODEL_DIR)
        blend = stages.blend_of(run.config(), place, model, model_files.PUBLISHED, model_files.PUBLISHED_BLEND)
        return blend.scores_of(context, items)

    return scores


def item_vectors(run: Run) -> NDArray[np.float32]:
    """The vectors of a trained run's items, float32 [items + 1, width], of the network that is published; row 0 is padding.

    Raises:
        MissingComponentError: TensorFlow is not installed.
    """
    hardware = stages.to_score(run.config())
    place, model = run.path(schema.FEATURES_DIR), run.path(schema.MODEL_DIR)
    return stages.network_of(place, model, model_files.PUBLISHED, hardware).item_vectors()


def _learned(run: Run) -> Learned:
    vectors = item_vectors(run)  # first, as in stages.blend_of
    from recsys.methods.blend import TRANSITIONS_FILE
    from recsys.methods.transitions import Transitions
    from recsys.recommend.similar_items import Learned

    counted = Transitions.load(storage.join(run.path(schema.MODEL_DIR), model_files.PUBLISHED_BLEND, TRANSITIONS_FILE))
    return Learned(vectors, counted.rows)


def _finished(output: str, run_id: str | None, needed: tuple[str, ...]) -> Run:
    """The run, if these stages have finished."""
    run = latest.followed(output, run_id)
    for stage in needed:
        if not storage.is_whole(run.path(FOLDERS[stage])):
            raise ConfigError(
                f"run {run.run_id} has nothing to show yet: recsys {stage} --output {output} --run-id {run.run_id}"
            )
    return run
