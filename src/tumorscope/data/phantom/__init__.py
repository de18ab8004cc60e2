"""The built-in synthetic set: brain-like slices with lesions like the four labels and their exact masks.

Nothing here shows a person. Every picture and every manifest says so with `SYNTHETIC_NOTICE`.
"""

from tumorscope.data.phantom.patient import MIN_TUMOUR_MM2, PhantomSlice, phantom_patient
from tumorscope.data.phantom.scanner import PLANES
from tumorscope.data.phantom.writing import SYNTHETIC_NOTICE, Scanners, write_phantom

__all__ = ["MIN_TUMOUR_MM2", "PLANES", "SYNTHETIC_NOTICE", "PhantomSlice", "Scanners", "phantom_patient", "write_phantom"]
