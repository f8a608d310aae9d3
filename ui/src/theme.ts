/** Colours and sizes. One accent; the colours of states are told apart by more than hue (an icon or a word is beside). */
import { createTheme, type MantineColorsTuple } from "@mantine/core";

const tide: MantineColorsTuple = [
  "#e9f8f6",
  "#d3efeb",
  "#a6ded7",
  "#75cbc1",
  "#4ebbaf",
  "#2fa79a",
  "#14877c",
  "#0f766e",
  "#0b625c",
  "#064c48",
];

export const theme = createTheme({
  primaryColor: "tide",
  primaryShade: 7,
  colors: { tide },
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace',
  fontSizes: { xs: "12px", sm: "13.5px", md: "14.5px", lg: "17px", xl: "20px" },
  defaultRadius: "md",
  cursorType: "pointer",
  headings: { fontWeight: "650" },
  components: {
    Anchor: { defaultProps: { underline: "always" } },
    Button: { defaultProps: { size: "sm" } },
    Tooltip: { defaultProps: { withArrow: true, multiline: true, maw: 420, events: { hover: true, focus: true, touch: true } } },
    Table: { defaultProps: { verticalSpacing: "sm", horizontalSpacing: "md" } },
    Modal: { defaultProps: { centered: true, overlayProps: { backgroundOpacity: 0.45, blur: 2 } } },
  },
});
