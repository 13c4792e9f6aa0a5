// Without the fonts of the theme: the system's own are there at once.
import DefaultTheme from 'vitepress/theme-without-fonts'
import './site.css'

export default DefaultTheme
