"""OpenCV, imported where it is used: who only predicts needs none, and it may lack libraries of the system."""

from types import ModuleType


def load_opencv() -> ModuleType:
    """
    Imports OpenCV.

    Returns:
        `ModuleType`: `cv2`.

    Raises:
        ImportError: if it is missing or cannot be loaded; the error names the remedy.

    Example:
        >>> load_opencv().INTER_AREA
        3
    """
    try:
        import cv2
    except ImportError as error:
        raise ImportError(
            f"Expected OpenCV, which draws frames and reads videos; importing it failed: {error}. Run `pip install "
            "opencv-python-headless`. If a library of the system such as libGL is missing, opencv-python, the build "
            "with windows, lies in the same place: run `pip uninstall -y opencv-python` first, then `pip install "
            "--force-reinstall --no-deps opencv-python-headless`."
        ) from error
    return cv2
