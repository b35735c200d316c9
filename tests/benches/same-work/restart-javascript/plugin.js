// As `plugins/restart-process`.

import { Plan, defineAction, process } from "salve-plugin";

export default defineAction({
  plan({ targets }) {
    const states = targets.map((target) => {
      const { state, pid } = process.status(target);
      return `\`${target.id}\` (${state}${pid === null ? "" : `, pid ${pid}`})`;
    });
    return new Plan(`Restart ${states.join(", ")}`).step(...targets.map(process.restartStep));
  },
});
