/** Charts. `LineChart` brings uPlot along (about 20 kB gzipped): import it from pages, which are loaded when opened. */

export { LineChart, LineSwatch } from "./LineChart";
export type { ChartMark, ChartSeries, SeriesColour } from "./LineChart";
export { smooth } from "./align";
export { Sparkline } from "./small";
