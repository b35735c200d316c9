// Says nothing.

import { defineDetector } from "salve-plugin";

export default defineDetector(
  class {
    observe() {}
  },
);
