import { test } from 'node:test';
import { foregroundCases } from '../cases/foreground.ts';
import { onStage } from '../stage.ts';
import { openStage } from './stage.ts';

for (const way of ['docker', 'podman'] as const) {
  onStage(`a terminal and a bottle of ${way}`, { open: () => openStage(way), timeout: 180_000 }, (stage) => {
    // Podman's attach tells nobody's status (podman, cmd/podman/containers/attach.go); the bottle does.
    const joined = way === 'podman' ? /code/ : /code 5/;
    for (const [name, holds] of Object.entries(foregroundCases)) {
      test(name, () => holds({ stage: stage(), joined }));
    }
  });
}
