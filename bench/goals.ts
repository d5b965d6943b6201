import { renderTable } from '../src/terminal/table.ts';

export interface Goal {
  readonly goal: string;
  readonly measured: string;
  readonly met: boolean;
}

/** Which goals were met. A quick run is too small to miss one. */
export function goalsTable(goals: readonly Goal[], { isQuick }: { readonly isQuick: boolean }): string {
  const missed = isQuick ? '(quick)' : 'MISSED';
  return renderTable(
    ['goal', 'measured', ''],
    goals.map(({ goal, measured, met }) => [goal, measured, met ? 'met' : missed]),
    ['left', 'right', 'left'],
  );
}
