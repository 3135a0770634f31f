"""The command that predicts new cells from a finished run."""

from __future__ import annotations

from scrcl.cli.app import FinishedOut, Inputs, Out, Quiet, Restart, app
from scrcl.cli.options import Given, with_settings
from scrcl.engine.config import OF_PREDICTIONS

__all__ = ["predict"]

_DEFAULTS = {
    "layer": "that of the run; X for X",
    "join": "that of the run",
    "coordinates": "that of the run",
    "sample_key": "that of the run",
}


@app.command()
@with_settings(only=OF_PREDICTIONS, defaults=_DEFAULTS)
def predict(
    run: FinishedOut,
    inputs: Inputs,
    out: Out,
    given: Given,
    restart: Restart = False,
    quiet: Quiet = False,
) -> None:
    """Predict embedding, cluster and confidence of the new cells in INPUTS from the finished RUN.

    RUN does not change. The same command resumes an interrupted prediction.
    """
    from scrcl.cli.render import reporting, show_ending
    from scrcl.cli.tables import predicted_table
    from scrcl.engine.predict import predict_files, run_for_prediction

    finished = run_for_prediction(run, given)
    with reporting(quiet) as reporter:
        result = predict_files(finished, inputs, out, reporter=reporter, restart=restart)
    show_ending(result, predicted_table(result.clusters), reporter, timed=not quiet)
